"""Texts in lanes: each row of a batch goes on where the same row of the batch before has ended."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.data.sampler import Place, ResumableBatchSampler
from manyheads.data.store import TokenStore


class Lanes(NamedTuple):
    """N documents one after the other, cut into L lanes. A place counts the inputs of all of them in that order."""

    documents: NDArray[np.int64]  # [N] their numbers
    ends: NDArray[np.int64]  # [N + 1] the place behind each; the first entry is 0, before all
    starts: NDArray[np.int64]  # [L + 1] the place of each lane's first input, and that behind the last lane


Layout = Callable[[int], Lanes]
"""From the number of an epoch to its lanes. All epochs have lanes of the same lengths."""


def equal_lanes(sizes: NDArray[np.int64], num_lanes: int, seed: int, shuffle: bool, epoch: int) -> Lanes:
    """All documents of [N] `sizes`, permuted anew in each epoch, in lanes of one length, to within one input: nothing is left
    out. A lane may begin within a document, whose rest is a text of its own."""
    order = np.random.default_rng([seed, epoch]).permutation(len(sizes)) if shuffle else np.arange(len(sizes))
    ends = _ends(sizes[order])
    return Lanes(order, ends, np.arange(num_lanes + 1) * ends[-1] // num_lanes)


def whole_documents(sizes: NDArray[np.int64], num_lanes: int, epoch: int = 0) -> Lanes:
    """All documents, each whole in one lane, whatever the epoch: the longest first, into the lane that has the least so far.

    Source: longest processing time first, Graham, "Bounds on Multiprocessing Timing Anomalies", 1969.
    """
    members: list[list[int]] = [[] for _ in range(num_lanes)]
    filled = [(0, lane) for lane in range(num_lanes)]
    for document in np.argsort(-sizes, kind="stable").tolist():
        size, lane = filled[0]
        members[lane].append(document)
        heapq.heapreplace(filled, (size + int(sizes[document]), lane))
    order = np.fromiter((document for lane in members for document in lane), np.int64, len(sizes))
    ends = _ends(sizes[order])
    return Lanes(order, ends, ends[np.cumsum([0, *map(len, members)])])


def _ends(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], sizes.cumsum()])


@final
class LaneRows(Dataset[Batch]):
    """The rows of a split in lanes: row `step * L + lane` is the part of a lane that follows on its row of the step before.

    A batch has the rows of a step in order, those of lanes that have ended left out; positions count from the beginning of a
    text, wherever that was. Give it to a DataLoader with `collate_fn=as_is`. A row is named by its number plus the number of
    all rows for each epoch before (`numbers_per_epoch` of the sampler).

    Args:
        store: the tokens.
        layout: the lanes of an epoch.
        seq_len: T, inputs in a row, at most.
        end_id: the token that padding holds.
        scoring: batches also carry `examples` and `num_bytes`, which scores need and training does not.
    """

    def __init__(self, store: TokenStore, layout: Layout, *, seq_len: int, end_id: int, scoring: bool) -> None:
        self.store = store
        self.layout = layout
        self.seq_len = seq_len
        self.end_id = end_id
        self.scoring = scoring
        self._epoch, self._lanes = 0, layout(0)
        longest = int(np.diff(self._lanes.starts).max())
        self.num_lanes = len(self._lanes.starts) - 1
        self._steps = -(-longest // seq_len)

    def __len__(self) -> int:
        return self._steps * self.num_lanes

    def __getitem__(self, index: int) -> Batch:
        """A batch of one row."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these rows of one step, in this order; where all their lanes have ended, one without a label."""
        epochs, rows = np.divmod(np.asarray(indices, np.int64), len(self))
        steps, lane = np.divmod(rows, self.num_lanes)
        lanes = self._of(int(epochs[0]))
        first = lanes.starts[lane] + steps * self.seq_len
        length = np.minimum(lanes.starts[lane + 1] - first, self.seq_len)
        there = length > 0
        if not there.any():
            return self._nothing(lane)
        return self._batch(lanes, lane[there], first[there], length[there])

    def _of(self, epoch: int) -> Lanes:
        if epoch != self._epoch:
            self._epoch, self._lanes = epoch, self.layout(epoch)
        return self._lanes

    def _batch(
        self, lanes: Lanes, lane: NDArray[np.int64], first: NDArray[np.int64], length: NDArray[np.int64]
    ) -> Batch:
        """The rows of [B] `length` from the places [B] `first` on."""
        real = np.arange(length.max()) < length[:, None]  # [B, T]
        row = np.repeat(np.arange(len(lane)), length)  # [n]; n counts the inputs of all rows
        place = np.repeat(first - _ends(length)[:-1], length) + np.arange(len(row))
        number = np.searchsorted(lanes.ends, place, side="right") - 1  # [n] in the order of the documents
        document = lanes.documents[number]
        source = self.store.document_starts[document] + place - lanes.ends[number]  # [n] place in the tokens
        begins = np.maximum(lanes.ends[number], lanes.starts[lane][row])
        segment = 1 + number - number[_ends(length)[:-1]][row]

        def spread(values: NDArray[Any], padding: int) -> Tensor:
            whole = np.full(real.shape, padding, np.int64)
            whole[real] = values
            return torch.from_numpy(whole)

        batch = Batch(
            input_ids=spread(self.store.tokens[source], self.end_id),
            labels=spread(self.store.tokens[source + 1], IGNORE),
            positions=spread(place - begins, 0),
            lanes=torch.from_numpy(lane),
            num_lanes=self.num_lanes,
        )
        if not real.all() or segment.max() > 1:
            batch["segments"] = spread(segment, 0)
        if self.scoring:
            batch["examples"] = spread(document, NO_EXAMPLE)
            batch["num_bytes"] = torch.from_numpy(self._bytes(source, row, segment))
        return batch

    def _bytes(
        self, source: NDArray[np.int64], row: NDArray[np.int64], segment: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """[B] bytes of raw text that the labels of each row stand for, added up over the parts of its texts."""
        begins = np.flatnonzero(np.diff(row, prepend=-1) | np.diff(segment, prepend=0))
        sizes = self.store.bytes_of(source[begins], np.diff(begins, append=len(row)))
        return np.add.reduceat(sizes, np.flatnonzero(np.diff(row[begins], prepend=-1)))

    def _nothing(self, lane: NDArray[np.int64]) -> Batch:
        """Lightning leaves out a rank that has no batch, and the others would wait for it."""
        one = torch.zeros(1, 1, dtype=torch.int64)
        batch = Batch(
            input_ids=one + self.end_id,
            labels=one + IGNORE,
            positions=one,
            lanes=torch.from_numpy(lane[:1]),
            num_lanes=self.num_lanes,
        )
        if self.scoring:
            batch["examples"], batch["num_bytes"] = one + NO_EXAMPLE, one[0]
        return batch


@final
class LaneSampler(ResumableBatchSampler):
    """The rows of lanes, step by step. Each optimizer step reads a row of every lane: a micro-batch of a rank has the same
    lanes in each, so a place holds for any split of the lanes into micro-batches and ranks.

    With another number of lanes the epoch that it was in begins anew.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        *,
        seed: int,
        num_lanes: int,
        rank: int,
        world: int,
        numbers_per_epoch: int,
    ) -> None:
        super().__init__(
            num_rows, batch_size, seed=seed, shuffle=False, rank=rank, world=world, numbers_per_epoch=numbers_per_epoch
        )
        assert num_lanes % self.global_batch == 0
        self.num_lanes = num_lanes

    def after(self, batches: int) -> Place:
        """The place after so many more batches than `state_dict` says."""
        return Place(**super().after(batches), lanes=self.num_lanes)  # type: ignore[typeddict-item]

    def load_state_dict(self, state: Place) -> None:
        """Goes to a place; of other lanes, to the beginning of its epoch."""
        place = state.copy()
        if place.pop("lanes", self.num_lanes) != self.num_lanes:
            place["rows"] = 0  # the batches stay, for Lightning goes on with its own count of them
        super().load_state_dict(place)
