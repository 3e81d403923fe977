"""How often words stand near each other: counted once, a part of the text at a time, and kept as a sparse table on disk."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from manyheads.batch import Batch
from manyheads.data.cache import cached, fingerprint
from manyheads.data.examples import no_example

LAYOUT = 1
"""Counts up when the files change their meaning."""

TOKENS_AT_ONCE = 1 << 18
"""Tokens that are looked at together: it bounds the memory, and no count depends on it but in its last digits."""
ENTRIES_AT_ONCE = 1 << 23
"""Entries that are held in memory before they are written to a run of their own; likewise."""

NOTES = "counts.json"


class Sums(NamedTuple):
    """Entries of a table, sorted."""

    keys: NDArray[np.int64]  # [N] first word * V + second word
    counts: NDArray[np.float64]  # [N]


class Cooccurrences:
    """The pairs of words of a split that stand near each other, both ways round, in the folder that `cooccurrences` filled.

    Attributes:
        total: the sum of all counts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        notes = json.loads((folder / NOTES).read_text())
        self.total: float = notes["total"]
        self._size: int = notes["entries"]

    def __reduce__(self) -> tuple[type[Cooccurrences], tuple[Path]]:
        """A worker opens the files itself instead of getting a copy of them."""
        return Cooccurrences, (self.folder,)

    def __len__(self) -> int:
        return self._size

    @functools.cached_property
    def columns(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """[N] each: the first word, the second word, and their count; by the first word, then by the second."""
        return self._open("first", np.int32), self._open("second", np.int32), self._open("count", np.float64)

    def _open(self, name: str, dtype: type) -> NDArray:
        if not self._size:  # which cannot be mapped
            return np.empty(0, dtype)
        return np.asarray(np.memmap(self.folder / f"{name}.bin", dtype=dtype, mode="r"))


class CountRows(Dataset[Batch]):
    """The entries of a table, a row each. Give it to a DataLoader with `collate_fn=as_is`: it makes whole batches itself.

    Args:
        table: the entries.
        scale: what counts are multiplied by to be in units of train.
        scoring: batches also carry `examples`: of each row the first word.
    """

    def __init__(self, table: Cooccurrences, *, scale: float = 1.0, scoring: bool) -> None:
        self.table = table
        self.scale = scale
        self.scoring = scoring

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one entry."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these entries, in this order; of none, one without a count."""
        if not indices:
            return no_example(self[0])
        rows = np.asarray(indices, np.int64)
        first, second, count = (column[rows] for column in self.table.columns)
        pairs = torch.from_numpy(np.stack([first, second], 1).astype(np.int64))
        counts = torch.from_numpy(np.stack([count, count * self.scale], 1).astype(np.float32))
        batch = Batch(input_ids=pairs, counts=counts)
        if self.scoring:
            batch["examples"] = pairs[:, 0].clone()
        return batch


def cooccurrences(tokens: Any, known: NDArray[np.bool_], end_id: int, window: int, key: str) -> Cooccurrences:
    """The table of a text's tokens, from the cache where it is there; see `count`. `key` stands for the tokens and for what is
    known."""
    make = functools.partial(count, tokens=tokens, known=known, end_id=end_id, window=window)
    return Cooccurrences(cached("cooccurrences", fingerprint(LAYOUT, key, window), make))


def count(folder: Path, *, tokens: Any, known: NDArray[np.bool_], end_id: int, window: int) -> None:
    """Puts the table of a text into a folder: for each two known words d places apart, d <= window, within a text, 1 / d both
    ways round (Pennington et al. 2014, section 4.2). Words that are not known are taken away first, as in cooccur.c.

    Args:
        tokens: [N] tokens, `end_id` between texts.
        known: [V] which tokens are words.
        window: the most places between two words.
    """
    runs: list[Path] = []
    held: list[Sums] = []
    for part in _parts(tokens, known, end_id, window):
        held.append(part)
        if sum(len(one.keys) for one in held) > ENTRIES_AT_ONCE:
            runs.append(_written(folder / f"run{len(runs)}", summed(held)))
            held = []
    tables = [_opened(run) for run in runs] + [summed(held)]
    total, entries = 0.0, 0
    with (
        (folder / "first.bin").open("wb") as first,
        (folder / "second.bin").open("wb") as second,
        (folder / "count.bin").open("wb") as counts,
    ):
        for part in _merged(tables, len(known)):
            first.write((part.keys // len(known)).astype(np.int32).tobytes())
            second.write((part.keys % len(known)).astype(np.int32).tobytes())
            counts.write(part.counts.tobytes())
            total, entries = total + float(part.counts.sum()), entries + len(part.keys)
    for run in runs:
        for file in folder.glob(f"{run.name}.*"):
            file.unlink()
    (folder / NOTES).write_text(json.dumps({"total": total, "entries": entries}))


def summed(parts: Sequence[Sums]) -> Sums:
    """One table of several: the counts of each pair added up, in the order of the parts."""
    if not parts:
        return Sums(np.empty(0, np.int64), np.empty(0))
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if not len(keys):
        return Sums(keys, np.empty(0))
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return Sums(keys[starts], np.add.reduceat(np.concatenate([part.counts for part in parts])[order], starts))


def _parts(tokens: Any, known: NDArray[np.bool_], end_id: int, window: int) -> Iterator[Sums]:
    """The tables of consecutive parts of the tokens; a pair is of the part that its second word is in."""
    before, of_before, texts = np.empty(0, np.int64), np.empty(0, np.int64), 0
    for start in range(0, len(tokens), TOKENS_AT_ONCE):
        part = tokens[np.arange(start, min(start + TOKENS_AT_ONCE, len(tokens)))].astype(np.int64)
        text = texts + (part == end_id).cumsum()
        texts = int(text[-1])
        kept = known[part]
        words, of = np.concatenate([before, part[kept]]), np.concatenate([of_before, text[kept]])
        keys, weights = [], []
        for apart in range(1, window + 1):
            first = max(0, len(before) - apart)  # before it both words are of an earlier part
            near = np.flatnonzero(of[first:-apart] == of[first + apart :]) + first
            one, other = words[near], words[near + apart]
            keys += [one * len(known) + other, other * len(known) + one]
            weights.append(np.full(2 * len(near), 1 / apart))
        yield summed([Sums(np.concatenate(keys), np.concatenate(weights))])
        before, of_before = words[-window:], of[-window:]


def _merged(tables: Sequence[Sums], size: int) -> Iterator[Sums]:
    """The sum of sorted tables, a range of first words at a time, so that no more than ENTRIES_AT_ONCE are in memory, or those
    of one word."""
    rows = np.zeros(size, np.int64)
    for table in tables:
        for start in range(0, len(table.keys), ENTRIES_AT_ONCE):
            rows += np.bincount(table.keys[start : start + ENTRIES_AT_ONCE] // size, minlength=size)
    first = 0
    while first < size:
        last = first + max(1, int(np.searchsorted(rows[first:].cumsum(), ENTRIES_AT_ONCE, side="right")))
        parts = []
        for table in tables:
            begin, end = np.searchsorted(table.keys, [first * size, last * size])
            parts.append(Sums(np.asarray(table.keys[begin:end]), np.asarray(table.counts[begin:end])))
        yield summed(parts)
        first = last


def _written(path: Path, table: Sums) -> Path:
    table.keys.tofile(path.with_suffix(".keys"))
    table.counts.tofile(path.with_suffix(".counts"))
    return path


def _opened(path: Path) -> Sums:
    return Sums(
        np.memmap(path.with_suffix(".keys"), dtype=np.int64, mode="r"),
        np.memmap(path.with_suffix(".counts"), dtype=np.float64, mode="r"),
    )
