"""A split as tokens on disk: made once for each (data, tokenizer), read through the page cache, never held in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manyheads.data.cache import cached, fingerprint
from manyheads.data.round_trip import RoundTrip

if TYPE_CHECKING:
    from manyheads.data.source import Source
    from manyheads.tokenizer.base import Tokenizer

LAYOUT = 2
"""Counts up when the files of a store change their meaning."""

CHUNK_CHARACTERS = 4_000_000
"""How much text is tokenized at once: it bounds the memory, and no result depends on it."""

COUNTED_AT_ONCE = 1 << 24
"""How many tokens are counted at once: it bounds the memory."""

COUNTS = "counts.json"


class TokenStore:
    """The tokens of one split, in the folder that `tokenize` filled.

    Before each document and after the last one stands END, so the tokens are `END d0 .. dn END e0 .. em END`. Document i
    has the inputs `tokens[s:e]` and the labels `tokens[s + 1 : e + 1]`, with s, e = document_starts[i : i + 2]: its end
    is a label like any other, and every token but the very first is the label of exactly one input.

    A piece is a row of the source: a whole document, or a part of one where rows are joined. It knows how many bytes of
    UTF-8 its raw text has, so bytes are counted on the text, whatever the tokenizer makes of it.

    Attributes:
        folder: where the files are.
        num_rows: rows of the source, empty ones included.
        num_empty: rows without any text; they are left out. One that cleaning left nothing of is not: its bytes count.
        round_trip: what the tokenizer lost of the rows.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        counts = json.loads((folder / COUNTS).read_text())
        self.num_rows: int = counts["rows"]
        self.num_empty: int = counts["empty"]
        self.round_trip = RoundTrip(**counts.get("round_trip", {}))
        self._dtype = np.dtype(counts["dtype"])

    def __reduce__(self) -> tuple[type[TokenStore], tuple[Path]]:
        """A worker opens the files itself instead of getting a copy of them."""
        return TokenStore, (self.folder,)

    @functools.cached_property
    def tokens(self) -> NDArray[np.unsignedinteger]:
        """[num_tokens + 1] uint16 or uint32, read-only."""
        return self._open("tokens", self._dtype)

    @functools.cached_property
    def document_starts(self) -> NDArray[np.int64]:
        """[num_documents + 1], the place in `tokens` of the END before each document, and of the last END."""
        return self._open("document_starts", np.dtype(np.int64))

    @functools.cached_property
    def piece_ends(self) -> NDArray[np.int64]:
        """[pieces + 1], the place in `tokens` of each piece's last label; the first entry is 0, before all labels."""
        return self._open("piece_ends", np.dtype(np.int64))

    @functools.cached_property
    def byte_ends(self) -> NDArray[np.int64]:
        """[pieces + 1], the bytes of raw text up to each piece's end."""
        return self._open("byte_ends", np.dtype(np.int64))

    @property
    def num_documents(self) -> int:
        """Texts that are not empty."""
        return len(self.document_starts) - 1

    @property
    def num_tokens(self) -> int:
        """Labels: each document's tokens and its end."""
        return len(self.tokens) - 1

    @property
    def num_bytes(self) -> int:
        """Bytes of the raw text in UTF-8."""
        return int(self.byte_ends[-1])

    def token_counts(self, vocab_size: int) -> NDArray[np.int64]:
        """[V] how often each token is a label."""
        counts = np.zeros(vocab_size, np.int64)
        for start in range(1, len(self.tokens), COUNTED_AT_ONCE):
            counts += np.bincount(self.tokens[start : start + COUNTED_AT_ONCE], minlength=vocab_size)
        return counts

    def bytes_until(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] bytes of raw text that stand for the labels in `tokens[1 : place + 1]`, for [N] places.

        Within a piece the bytes are spread evenly over its labels and rounded down, so the bytes of ranges that follow
        on each other add up to those of the whole, wherever a text is cut.
        """
        if len(self.piece_ends) == 1:
            return np.zeros(len(places), np.int64)
        piece = np.searchsorted(self.piece_ends[1:], places).clip(max=len(self.piece_ends) - 2)
        first, last = self.piece_ends[piece], self.piece_ends[piece + 1]
        before, size = self.byte_ends[piece], self.byte_ends[piece + 1] - self.byte_ends[piece]
        return before + size * (places - first) // (last - first)

    def bytes_of(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] bytes of raw text for the `lengths` labels from the inputs at `starts` on."""
        return self.bytes_until(starts + lengths) - self.bytes_until(starts)

    def _open(self, name: str, dtype: np.dtype) -> NDArray:
        return np.asarray(np.memmap(self.folder / f"{name}.bin", dtype=dtype, mode="r"))


def tokenize(source: Source, split: str, tokenizer: Tokenizer) -> TokenStore:
    """The tokens of a split, from the cache where they are there.

    The cache goes by the content of the data and of the tokenizer, so nothing is made in vain and nothing is stale.
    """
    key = fingerprint(LAYOUT, source.fingerprint, source.join_rows, split, tokenizer.fingerprint)
    return TokenStore(cached("tokens", key, functools.partial(_write, source=source, split=split, tokenizer=tokenizer)))


def _write(folder: Path, *, source: Source, split: str, tokenizer: Tokenizer) -> None:
    """Fills the folder of a store, a chunk of text at a time."""
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= np.iinfo(np.uint16).max + 1 else np.uint32)
    rows = empty = 0
    lost = RoundTrip()
    with _Writer(folder, dtype, tokenizer.end_id, joined=source.join_rows) as writer:
        for chunk in _chunks(source.pieces(split)):
            texts, sizes = [text for text, size in chunk if size], [size for _, size in chunk if size]
            rows, empty = rows + len(chunk), empty + len(chunk) - len(texts)
            ids = tokenizer.encode_batch(texts)
            lost.add(tokenizer, texts, ids)
            writer.add(ids, sizes)
    counts = {"rows": rows, "empty": empty, "dtype": dtype.name, "round_trip": dataclasses.asdict(lost)}
    (folder / COUNTS).write_text(json.dumps(counts))


class _Writer:
    """Appends pieces to the four files of a store."""

    def __init__(self, folder: Path, dtype: np.dtype, end_id: int, *, joined: bool) -> None:
        self._dtype, self._end_id, self._joined = dtype, end_id, joined
        self._stack = contextlib.ExitStack()  # closes every file, also when one of them cannot be flushed
        names = ("tokens", "document_starts", "piece_ends", "byte_ends")
        self._files = {name: self._stack.enter_context((folder / f"{name}.bin").open("wb")) for name in names}
        self._place = 0  # of the last token that is written
        self._bytes = 0  # of all pieces so far

    def __enter__(self) -> _Writer:
        self._append("tokens", [self._end_id], self._dtype)
        for name in ("document_starts", "piece_ends", "byte_ends"):
            self._append(name, [0])
        return self

    def add(self, pieces: list[list[int]], sizes: list[int]) -> None:
        """Adds pieces, given the tokens and the bytes of each."""
        if not self._joined:
            for tokens in pieces:
                tokens.append(self._end_id)
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        self._append("tokens", np.fromiter(itertools.chain.from_iterable(pieces), self._dtype, int(lengths.sum())))
        ends = self._place + lengths.cumsum()
        byte_ends = self._bytes + np.cumsum(sizes, dtype=np.int64)
        # a piece without tokens ends where the piece before it does: its bytes go to the next label that comes
        last = np.flatnonzero(np.diff(ends, prepend=self._place))
        self._append("piece_ends", ends[last])
        self._append("byte_ends", byte_ends[last])
        if not self._joined:
            self._append("document_starts", ends)
        if len(pieces):
            self._place, self._bytes = int(ends[-1]), int(byte_ends[-1])

    def __exit__(self, error: object, *_: object) -> None:
        with self._stack:
            if error is None and self._joined and self._bytes:
                # END is the joined text's last label, and takes the bytes that no token was left to stand for
                self._append("tokens", [self._end_id], self._dtype)
                for name in ("document_starts", "piece_ends"):
                    self._append(name, [self._place + 1])
                self._append("byte_ends", [self._bytes])

    def _append(self, name: str, values: Iterable[int] | NDArray, dtype: np.dtype | type = np.int64) -> None:
        array = values if isinstance(values, np.ndarray) else np.array(values, dtype)
        self._files[name].write(array.tobytes())


def _chunks(batches: Iterable[tuple[list[str], list[int]]]) -> Iterator[list[tuple[str, int]]]:
    """The same rows, each text with its bytes, in lists that hold about CHUNK_CHARACTERS at most, or one row."""
    for texts, sizes in batches:
        chunk: list[tuple[str, int]] = []
        characters = 0
        for text, size in zip(texts, sizes, strict=True):
            if chunk and characters + len(text) > CHUNK_CHARACTERS:
                yield chunk
                chunk, characters = [], 0
            chunk.append((text, size))
            characters += len(text)
        yield chunk
