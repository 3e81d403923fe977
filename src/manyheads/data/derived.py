"""Sources made of another source: its rows, changed or fewer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from manyheads.data.fields import TEXT, Fields
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import BATCH_ROWS, batches_of
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from manyheads.data.stream import RowStream

RAW_BYTES = "manyheads_raw_bytes"
"""The column that holds the bytes of a row's text before it was changed."""


class Derived(Source):
    """The rows of `inner` as they are, its splits cut already. What a final class changes, it overrides.

    Splits are cut by the raw text, so no option moves a row from one split to another.
    """

    def __init__(self, inner: Source) -> None:
        super().__init__(name=inner.name, join_rows=inner.join_rows, validation_fraction=inner.validation_fraction)
        self.inner = inner

    def ask(self, fields: Fields) -> None:
        """Asks `inner`."""
        super().ask(fields)
        self.inner.ask(fields)

    @property
    def fingerprint(self) -> str:
        """That of `inner`."""
        return self.inner.fingerprint

    @property
    def given(self) -> tuple[str, ...]:
        """The splits of `inner`, those that it cuts included."""
        return SPLITS if "train" in self.inner.given else self.inner.given

    @property
    def notes(self) -> list[str]:
        """Those of `inner`."""
        return self.inner.notes

    @property
    def reports(self) -> dict[str, Any]:
        """Those of `inner`."""
        return self.inner.reports

    def uncut(self) -> Source:
        """Those of `inner`, since what compares splits has nothing to compare; what changes texts overrides this."""
        return self.inner.uncut()

    def stream(self) -> RowStream | None:
        """That of `inner`."""
        return self.inner.stream()

    def load(self, split: str) -> Dataset:
        """The rows of `inner`."""
        return self.inner.rows(split)

    def pieces(self, split: str) -> Iterator[tuple[list[str], list[int]]]:
        """The texts, and the bytes that the raw text of each has."""
        if self.fields != TEXT or RAW_BYTES not in self.rows(split).column_names:
            yield from super().pieces(split)
            return
        for texts, sizes in batches_of(lambda: self.rows(split), ["text", RAW_BYTES], BATCH_ROWS):
            yield [text or "" for text in texts], sizes


def check_has_text(fields: Fields, key: str) -> None:
    """Raises UserError when what compares texts is asked to do it with rows that have none of that name."""
    if "text" not in fields.plain_texts:
        raise UserError(
            f"{key} compares the field text, and the task's are {', '.join(fields.required)}. Set {key}=null."
        )


def evaluated(source: Source) -> list[str]:
    """The splits of a source that are scored: validation and test, where they are there or can be cut."""
    return [split for split in SPLITS if split in Derived(source).given and split != "train"]


def clip(text: str, length: int = 200) -> str:
    """The beginning of a text, for a report."""
    return text if len(text) <= length else text[:length] + "..."
