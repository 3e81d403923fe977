"""How documents become rows: cut into segments no longer than a row, then packed into rows or left one to a row."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Segments(NamedTuple):
    """N pieces of documents, in the documents' order. A segment has `length` inputs and as many labels."""

    start: NDArray[np.int64]  # [N] place of the first input in the tokens
    skip: NDArray[np.int64]  # [N] how many of its first labels an earlier segment has: here they are context alone
    length: NDArray[np.int64]  # [N]
    document: NDArray[np.int64]  # [N] which document it is cut from


class Rows(NamedTuple):
    """R rows made of N segments: row r holds `members[starts[r] : starts[r + 1]]`, one after the other."""

    members: NDArray[np.int64]  # [N] segment ids
    starts: NDArray[np.int64]  # [R + 1]


def cut(document_starts: NDArray[np.int64], seq_len: int, stride: int | None = None) -> Segments:
    """Cuts each document, from its own start on, into windows of at most `seq_len` inputs.

    The windows of a document begin `stride` inputs apart (by default `seq_len`: no overlap). Each window but the first
    scores only labels that no earlier one has, with at least `seq_len - stride` tokens before them as context; so every
    label counts once, whatever the two numbers are. A document no longer than `seq_len` is one window.

    Source: strided perplexity, Hugging Face Transformers' documentation, "Perplexity of fixed-length models".
    """
    step = seq_len if stride is None else stride
    assert 1 <= step <= seq_len
    sizes = np.diff(document_starts)
    windows = 1 + np.maximum(sizes - seq_len + step - 1, 0) // step  # [documents]
    document = np.repeat(np.arange(len(sizes)), windows)
    number = np.arange(len(document)) - np.repeat(windows.cumsum() - windows, windows)  # 0.. within the document
    return Segments(
        start=document_starts[document] + number * step,
        skip=np.where(number > 0, seq_len - step, 0),
        length=np.minimum(sizes[document] - number * step, seq_len),
        document=document,
    )


def pack(lengths: NDArray[np.int64], seq_len: int) -> Rows:
    """Packs segments of [N] `lengths` into few rows of at most `seq_len`: best-fit decreasing.

    The longest segment goes first, into the row with the least room that still takes it, else into a new row. Segments
    of one length are placed together, so the time goes with N and the number of different lengths, not with the rows.
    Nothing is drawn by chance. Every row is filled within seq_len; on ragged texts about 1 % of the room stays empty.

    Source: best-fit decreasing, Johnson, "Near-optimal bin packing algorithms", 1973.
    """
    order = np.argsort(-lengths, kind="stable")
    counts = np.bincount(lengths, minlength=seq_len + 1)
    assert len(counts) == seq_len + 1
    row_of = np.empty(len(lengths), np.int64)
    room = _Room(seq_len)
    place = 0
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            rows = room.take(length, left)
            row_of[order[place : place + len(rows)]] = rows
            place, left = place + len(rows), left - len(rows)
    members = order[np.argsort(row_of[order], kind="stable")]
    starts = np.concatenate([[0], np.bincount(row_of, minlength=room.num_rows).cumsum()])
    return Rows(members, starts.astype(np.int64))


def single(lengths: NDArray[np.int64]) -> Rows:
    """One segment a row, the longest first, so that the rows of a batch are about equally long."""
    return Rows(np.argsort(-lengths, kind="stable"), np.arange(len(lengths) + 1))


def concatenated(parts: Sequence[Rows]) -> Rows:
    """The rows of parts whose segments follow on each other, those of the first part first."""
    sizes = [len(part.members) for part in parts]
    before = np.cumsum([0, *sizes[:-1]])
    starts = [part.starts[1:] + first for part, first in zip(parts, before, strict=True)]
    members = [part.members + first for part, first in zip(parts, before, strict=True)]
    return Rows(np.concatenate(members), np.concatenate([[0], *starts]))


class _Room:
    """The rows that are open, by the room they have left."""

    def __init__(self, seq_len: int) -> None:
        self.seq_len = seq_len
        self.num_rows = 0
        self._sizes: list[int] = []  # the keys of _rows, ascending
        self._rows: dict[int, list[NDArray[np.int64]]] = {}

    def take(self, length: int, count: int) -> NDArray[np.int64]:
        """[1..count] rows, one for each segment of this length that is placed now: those of the tightest fit, or new."""
        index = bisect.bisect_left(self._sizes, length)
        if index < len(self._sizes):
            size = self._sizes.pop(index)
            rows = np.concatenate(self._rows.pop(size))
        else:
            size = self.seq_len
            new = -(-count // (size // length))
            rows = np.arange(self.num_rows, self.num_rows + new)
            self.num_rows += new
        # a row that has taken one of them is now the tightest fit for the next
        each = size // length
        used = min(len(rows), -(-count // each))
        taken = np.repeat(rows[:used], each)[:count]
        in_last = len(taken) - (used - 1) * each
        self._put(size, rows[used:])
        self._put(size - each * length, rows[: used - 1])
        self._put(size - in_last * length, rows[used - 1 : used])
        return taken

    def _put(self, size: int, rows: NDArray[np.int64]) -> None:
        if size == 0 or not len(rows):
            return
        if size not in self._rows:
            bisect.insort(self._sizes, size)
            self._rows[size] = []
        self._rows[size].append(rows)
