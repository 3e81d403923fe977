"""Texts in memory, without the library that reads files."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from manyheads.data.cache import fingerprint
from manyheads.data.source import Source


class Texts(Source):
    """The same texts in each split, or texts by split."""

    given = ("train", "validation", "test")

    def __init__(self, texts: Sequence[str] | Mapping[str, Sequence[str]], *, join_rows: bool = False) -> None:
        super().__init__(name="texts", join_rows=join_rows, validation_fraction=0.05)
        self._texts = texts if isinstance(texts, Mapping) else dict.fromkeys(self.given, texts)

    @property
    def fingerprint(self) -> str:
        return fingerprint({split: list(texts) for split, texts in self._texts.items()})

    def load(self, split: str):
        raise AssertionError("rows are not needed")

    def texts(self, split: str) -> Iterator[list[str]]:
        yield list(self._texts[split])


@pytest.fixture
def texts() -> Callable[..., Texts]:
    return Texts
