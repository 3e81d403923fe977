"""Uncut: data that is only scored, of which nothing has to be set aside for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from manyheads.data.cache import fingerprint
from manyheads.data.fields import Fields
from manyheads.data.source import Source

if TYPE_CHECKING:
    from datasets import Dataset

EVALUATED = ("validation", "test")


@final
class Uncut(Source):
    """The validation and the test split of another source as they are; one that has neither is a test split as a whole."""

    def __init__(self, source: Source) -> None:
        super().__init__(name=source.name, join_rows=source.join_rows, validation_fraction=source.validation_fraction)
        self._source = source
        self.fields = source.fields
        there = tuple(split for split in EVALUATED if split in source.given)
        self._splits = {split: split for split in there} or {"test": source.given[0]}

    def ask(self, fields: Fields) -> None:
        super().ask(fields)
        self._source.ask(fields)

    @property
    def fingerprint(self) -> str:
        return fingerprint("uncut", self._source.fingerprint)

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(self._splits)

    @property
    def remarks(self) -> list[str]:
        whole = ", all of it as the test split" if self._splits.get("test") not in (None, "test") else ""
        only = f", scored on its {self.given[0]} split alone" if len(self.given) == 1 and not whole else ""
        return [*self._source.remarks, f"other data than the run was trained on{whole or only}"]

    def load(self, split: str) -> Dataset:
        return self._source.load(self._splits[split])
