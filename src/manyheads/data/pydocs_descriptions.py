"""Fields source and target: a signature, and one line that says what it is for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_rows import Row, unique
from manyheads.data.pydocs_summaries import is_summary

_MAX_CHARACTERS = 200


def description_rows(definitions: Iterable[Definition]) -> Iterator[Row]:
    """One row for each class and function that has a summary. Equal descriptions stay once."""
    return unique(_rows(definitions), "target")


def _rows(definitions: Iterable[Definition]) -> Iterator[Row]:
    for definition in definitions:
        source, target = definition.signature.text, definition.summary
        if definition.name and len(source) <= _MAX_CHARACTERS and is_summary(target):
            yield {"source": source, "target": target, "module": definition.module}
