"""From examples to a Batch: rows padded to the longest of them, and the loader's data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.data.ragged import ExampleStore, Ragged

Collate = Callable[[dict[str, list[NDArray[np.int32]]]], Batch]
"""From the columns of some examples to a batch of them, a row each."""

Redraw = Callable[[Mapping[str, list[NDArray[np.int32]]], Sequence[Sequence[int]]], dict[str, list[NDArray[np.int32]]]]
"""From the columns of some examples, and the numbers that the draws of each are made from, to what is read of them."""


DRAWN = 0x6472
"""A part of keys: these draws are others than those of the sampler."""


class ExampleRows(Dataset[Batch]):
    """The examples of a split. Give it to a DataLoader with `collate_fn=as_is`: it makes whole batches itself.

    Args:
        store: the examples.
        collate: makes a batch of some of them.
        members: which of them, in which order; None: all, in theirs.
        scoring: batches also carry `examples`, the number of each row's example.
        redraw: makes other tokens of training examples by chance. The draws go by the example and the epoch alone: an example
            is named by its place plus the number of all for each epoch before (`numbers_per_epoch` of the sampler).
        seed: of its draws.
    """

    def __init__(
        self,
        store: ExampleStore,
        collate: Collate,
        *,
        members: NDArray[np.int64] | None = None,
        scoring: bool,
        redraw: Redraw | None = None,
        seed: int = 0,
    ) -> None:
        self.store = store
        self.collate = collate
        self.members = np.arange(len(store)) if members is None else members
        self.scoring = scoring
        self.redraw = redraw
        self.seed = seed

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one example."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these examples, in this order; of none, one without a label."""
        if not indices:
            return no_example(self[0])
        epochs, places = np.divmod(np.asarray(indices, np.int64), len(self))
        chosen = self.members[places]
        columns = {name: _take(self.store[name], chosen) for name in self.store.columns}
        if self.redraw is not None:
            keys = [(self.seed, DRAWN, *drawn) for drawn in zip(epochs.tolist(), chosen.tolist(), strict=True)]
            columns = self.redraw(columns, keys)
        batch = self.collate(columns)
        if self.scoring:
            batch["examples"] = torch.from_numpy(chosen)
        return batch


def no_example(batch: Batch) -> Batch:
    """A batch of the same shape without a label: for a rank that has no row, since the others wait for it."""
    empty: dict[str, Any] = {**batch}
    unlabelled = dict.fromkeys(("labels", "classes", "spans", "pseudo_labels", "candidates"), IGNORE)
    for name, nothing in {**unlabelled, "examples": NO_EXAMPLE}.items():
        if name in empty:
            empty[name] = torch.full_like(empty[name], nothing)
    for name in ("num_bytes", "num_tokens", "counts"):
        if name in empty:
            empty[name] = torch.zeros_like(empty[name])
    return Batch(**empty)  # type: ignore[typeddict-item]


def padded(rows: Sequence[NDArray], fill: int) -> tuple[Tensor, Tensor | None]:
    """Lists of numbers as [B, T] int64, filled on the right, and their segments: 1, and 0 on padding; None where nothing
    is padded. T is at least 1."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    width = max(1, int(lengths.max()))
    inside = np.arange(width) < lengths[:, None]
    made = np.full((len(rows), width), fill, np.int64)
    made[inside] = np.concatenate(rows)
    whole = bool(inside.all())
    return torch.from_numpy(made), None if whole else torch.from_numpy(inside.astype(np.int64))


def _take(column: Ragged, chosen: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    return [column[int(index)] for index in chosen]
