"""Fields: which columns the rows of a task have, whatever they are called in the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Fields(NamedTuple):
    """The columns that a task reads.

    Attributes:
        texts: those that hold texts, which tokenizers are trained on. `messages.content` stands for what is called
            content in each item of the column messages.
        others: further ones that each row must have.
        optional: those that are taken along where the data has them.
    """

    texts: tuple[str, ...]
    others: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that must be there, each once."""
        return tuple(dict.fromkeys([*(path.partition(".")[0] for path in self.texts), *self.others]))

    @property
    def plain_texts(self) -> tuple[str, ...]:
        """The columns whose values are texts themselves."""
        return tuple(path for path in self.texts if "." not in path)

    def strings(self, row: dict[str, Any]) -> Iterator[str]:
        """The texts of a row, one after the other; a missing one is the empty text."""
        for path in self.texts:
            column, _, inner = path.partition(".")
            yield from _strings(row[column], inner)


TEXT = Fields(("text",))
"""What is read where only texts are."""


def _strings(value: Any, inner: str) -> Iterator[str]:
    if not inner:
        yield value or ""
    else:
        yield from (item[inner] or "" for item in value or ())
