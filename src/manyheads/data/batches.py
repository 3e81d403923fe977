"""From rows to a Batch, the whole batch in a few numpy calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.data.packing import Rows, Segments
from manyheads.data.store import TokenStore


class Tokens(Protocol):
    """What rows are cut from: a split on disk, or a block of a stream."""

    @property
    def tokens(self) -> Any:
        """[num_tokens + 1], for indices in arrays; every token but the first is a label."""
        ...


class PackedRows(Dataset[Batch]):
    """The rows of a split. Give it to a DataLoader with `collate_fn=as_is`: it makes whole batches itself.

    A batch is as wide as its longest row. `segments` and `positions` are left out when each row is one whole segment of
    that width, so that attention can take its fast causal path.

    Args:
        store: the tokens.
        segments: what the rows are made of.
        rows: which segments make a row.
        end_id: the token that padding holds.
        scoring: batches also carry `examples` and `num_bytes`, which scores need and training does not.
    """

    def __init__(self, store: Tokens, segments: Segments, rows: Rows, *, end_id: int, scoring: bool) -> None:
        self.store = store
        self.end_id = end_id
        self.scoring = scoring
        self._starts = rows.starts
        members = rows.members
        self._first, self._skip, self._length, self._document = (column[members] for column in segments)
        if scoring:
            assert isinstance(store, TokenStore)
            scored = self._length - self._skip
            self._bytes = store.bytes_of(self._first + self._skip, scored)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[R] the inputs of each row."""
        ends = np.concatenate([[0], self._length.cumsum()])
        return np.diff(ends[self._starts])

    def __getitem__(self, index: int) -> Batch:
        """A batch of one row."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these rows, in this order; of none, one without a label."""
        if not indices:
            return nothing(self[0])
        rows = np.asarray(indices, np.int64)
        counts = self._starts[rows + 1] - self._starts[rows]  # [B] segments in each row
        members = _ranges(self._starts[rows], counts)  # [S]
        lengths = self._length[members]  # [S]
        if len(members) == len(rows) and (lengths == lengths[0]).all():
            batch = self._whole(members, int(lengths[0]))
        else:
            batch = self._ragged(members, lengths, counts)
        if self.scoring:
            batch["num_bytes"] = torch.from_numpy(np.add.reduceat(self._bytes[members], counts.cumsum() - counts))
        return batch

    def _whole(self, members: NDArray[np.int64], width: int) -> Batch:
        """A batch in which each row is one segment of the full width."""
        tokens = self.store.tokens[self._first[members][:, None] + np.arange(width + 1)].astype(np.int64)  # [B, T + 1]
        labels = tokens[:, 1:].copy()  # never a view: a batch of one row would overwrite its own inputs
        skip = self._skip[members]
        if skip.any():
            labels[np.arange(width) < skip[:, None]] = IGNORE
        batch = Batch(input_ids=torch.from_numpy(np.ascontiguousarray(tokens[:, :-1])), labels=torch.from_numpy(labels))
        if self.scoring:
            batch["examples"] = torch.from_numpy(np.repeat(self._document[members], width).reshape(-1, width))
        return batch

    def _ragged(self, members: NDArray[np.int64], lengths: NDArray[np.int64], counts: NDArray[np.int64]) -> Batch:
        """A batch of rows with several segments, or with padding at their ends."""
        num_rows = len(counts)
        ends = lengths.cumsum()
        row_ends = ends[counts.cumsum() - 1]
        row_starts = np.concatenate([[0], row_ends[:-1]])
        width = int((row_ends - row_starts).max())
        # n counts the inputs of all segments, one after the other
        within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)  # [n] place in the segment
        source = np.repeat(self._first[members], lengths) + within  # [n] place in the tokens
        target = None  # [n] place in the batch; None where no row ends in padding, as nearly always in a packed split
        if ends[-1] < num_rows * width:
            shift = np.repeat(np.arange(num_rows) * width - row_starts, row_ends - row_starts)
            target = np.arange(ends[-1]) + shift
        tokens, skip = self.store.tokens, self._skip[members]
        labels = tokens.take(source + 1).astype(np.int64)
        if skip.any():
            labels[within < np.repeat(skip, lengths)] = IGNORE
        number = np.arange(1, len(members) + 1) - np.repeat(counts.cumsum() - counts, counts)  # [S] 1.. in the row

        def spread(values: NDArray, padding: int) -> Tensor:
            if target is None:
                return torch.from_numpy(values.astype(np.int64, copy=False).reshape(num_rows, width))
            batch = np.full(num_rows * width, padding, np.int64)
            batch[target] = values
            return torch.from_numpy(batch.reshape(num_rows, width))

        batch = Batch(
            input_ids=spread(tokens.take(source), self.end_id),
            labels=spread(labels, IGNORE),
            positions=spread(within, 0),
            segments=spread(np.repeat(number, lengths), 0),
        )
        if self.scoring:
            batch["examples"] = spread(np.repeat(self._document[members], lengths), NO_EXAMPLE)
        return batch


def as_is(batch: Any) -> Any:
    """The collate function of a data set that makes whole batches."""
    return batch


def nothing(batch: Batch) -> Batch:
    """A batch of the same shape without a label. Lightning leaves out a rank that has no batch, and the others would wait
    for it where scores are added up."""
    empty = {**batch, "labels": torch.full_like(batch["labels"], IGNORE)}
    if "num_bytes" in batch:
        empty["num_bytes"] = torch.zeros_like(batch["num_bytes"])
    return Batch(**empty)  # type: ignore[typeddict-item]


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """start, start + 1, .. for each start, `count` of them, one after the other."""
    ends = counts.cumsum()
    return np.arange(ends[-1]) + np.repeat(starts - (ends - counts), counts)
