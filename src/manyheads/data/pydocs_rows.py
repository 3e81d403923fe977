"""Rows of the views of pydocs, before they are split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from manyheads.data.pydocs_prose import key

Row = dict[str, Any]
"""The fields of a view, and the name of the module that the row is from."""


def unique(rows: Iterable[Row], *fields: str) -> Iterator[Row]:
    """The rows without those whose fields an earlier one had, by their letters alone."""
    seen = set()
    for row in rows:
        letters = tuple(key(row[field]) for field in fields)
        if letters not in seen:
            seen.add(letters)
            yield row
