"""Streaming: a source whose training split is read as it is trained on, and never lies on the disk as a whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.fields import TEXT, Fields
from manyheads.data.source import Source
from manyheads.data.split import unit_hash
from manyheads.data.stream import RowStream, StreamedRows, StreamPlace
from manyheads.data.tables import read_shards, write_texts
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

MB = 1_000_000
_LAYOUT = 1
_BATCH_ROWS = 1_000


def streamed(
    source: Source, rows: Callable[[], StreamedRows], streaming: bool, *, head_mb: float, shuffle_mb: float
) -> Source:
    """The source with its training split as a stream, if that is asked for. Raises UserError for sizes out of range."""
    for name, value in (("head_mb", head_mb), ("shuffle_mb", shuffle_mb)):
        if value <= 0:
            raise UserError(f"data.{name}={value}: set a number of megabytes above 0.")
    if not streaming:
        return source
    if "train" not in source.given:
        raise UserError(
            f"data.streaming=true: data ({source.name}) has no train split, and the others are scored from the cache. "
            "Set data.streaming=false."
        )
    return Streaming(source, rows, head_mb=head_mb, shuffle_mb=shuffle_mb)


@final
class Streaming(Source):
    """The splits of a source, train as a stream.

    Splits that are given are those of the source. The others are cut from the head of the stream, its first `head_mb`
    megabytes, as `split.cut` cuts a whole split. Those rows are left out of training wherever they stand: joined rows by
    their place, other rows by their text, so no text of a scored split is trained on, repeated or not. Everything else,
    head and rest, is train. `rows` and `texts` of train are those of the head: what tokenizers are trained on.
    """

    def __init__(self, whole: Source, rows: Callable[[], StreamedRows], *, head_mb: float, shuffle_mb: float) -> None:
        super().__init__(name=whole.name, join_rows=whole.join_rows, validation_fraction=whole.validation_fraction)
        self._whole = whole
        self._rows = rows
        self._head_mb = head_mb
        self._shuffle_mb = shuffle_mb

    def ask(self, fields: Fields) -> None:
        if fields != TEXT:
            raise UserError("data.streaming=true: the task reads all rows before it trains. Set data.streaming=false.")

    @property
    def fingerprint(self) -> str:
        return fingerprint("streaming", _LAYOUT, self._whole.fingerprint, self._head_mb)

    @property
    def given(self) -> tuple[str, ...]:
        return self._whole.given

    @property
    def remarks(self) -> list[str]:
        return [
            *self._whole.remarks,
            f"train is a stream: read, tokenized and packed as it is trained on, shuffled within {self._shuffle_mb:g} MB "
            "of text (another order in each pass; files stay in theirs)",
            f"tokenizers are trained on the first {self._head_mb:g} MB of the stream",
        ]

    @property
    def notes(self) -> list[str]:
        if not self._missing:
            return self.remarks
        how = (
            "their end"
            if self.join_rows
            else "rows chosen by the hash of their text, and left out wherever they come again"
        )
        return [
            *self.remarks,
            f"no {' or '.join(self._missing)} split in the data: {self.validation_fraction:.3g} of the stream's first "
            f"{self._head_mb:g} MB, a row at least, was set aside for {'each' if len(self._missing) > 1 else 'it'} ({how})",
        ]

    def load(self, split: str) -> Dataset:
        if split != "train":
            return self._whole.load(split)
        key = fingerprint("head", _LAYOUT, self._whole.fingerprint, self._head_mb)
        return read_shards(cached("rows", key, lambda folder: write_texts(self._head(), folder)))

    def uncut(self) -> Source:
        """Everything, from the cache: what is scored is scored whole."""
        return self._whole.uncut()

    def stream(self) -> RowStream:
        return RowStream(self._rows(), int(self._shuffle_mb * MB), _LeftOut(self))

    def _head(self) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for text, _ in self._rows().texts(StreamPlace()):
            batch.append(text)
            size += len(text.encode())
            if len(batch) == _BATCH_ROWS or size >= self._head_mb * MB:
                yield batch
                batch = []
            if size >= self._head_mb * MB:
                return
        yield batch

    @functools.cached_property
    def held_places(self) -> range:
        """The numbers of the joined rows that were set aside."""
        if not self._missing:
            return range(0)
        return range(len(self._cut["train"]), sum(map(len, self._cut.values())))

    @functools.cached_property
    def held_hashes(self) -> frozenset[float]:
        """The hashes of the texts that were set aside."""
        return frozenset(unit_hash(text) for split in self._missing for texts in self.texts(split) for text in texts)


@final
class _LeftOut:
    """Whether a row of the stream was set aside for another split; found out when first asked."""

    def __init__(self, source: Streaming) -> None:
        self._source = source

    def __call__(self, number: int, text: str) -> bool:
        if self._source.join_rows:
            return number in self._source.held_places
        held = self._source.held_hashes
        return bool(held) and unit_hash(text) in held
