"""Fields text and label: which part of the standard library a docstring comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_groups import OTHER, group_of
from manyheads.data.pydocs_prose import words
from manyheads.data.pydocs_rows import Row

_MIN_WORDS, _MAX_WORDS = 5, 300


def label_rows(definitions: Iterable[Definition]) -> Iterator[Row]:
    """One row for each docstring of a handful of words whose module is in a group; the label is the group's name."""
    for definition in definitions:
        label = group_of(definition.module)
        if label != OTHER and _MIN_WORDS <= words(definition.doc) <= _MAX_WORDS:
            yield {"text": definition.doc, "label": label, "module": definition.module}
