"""Rows of which chance makes something else, the same wherever and whenever they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from manyheads.batch import Batch
from manyheads.data.batches import PackedRows
from manyheads.data.examples import no_example

Alter = Callable[[Batch, Sequence[Sequence[int]]], Batch]
"""From a batch of plain rows, and the numbers that the draws of each row are made from, to the batch that is read. One that
makes of a row several, or none, says in `examples` [N] which row of the batch each of them is."""

TRAINED, SCORED = 0x7472, 0x7363
"""Parts of keys: draws for training are others than those for scoring, and than those of the sampler."""


class AlteredRows(Dataset[Batch]):
    """The rows of a split as `alter` makes them. A row's draws go by `key`, the epoch and the row, by nothing else: they are
    the same on any number of ranks and workers, in batches of any size, and after a resume.

    A row is named by its number plus the number of all rows for each epoch before (`numbers_per_epoch` of the sampler).

    Args:
        rows: the plain rows, without what scoring adds.
        alter: see `Alter`.
        key: what is the same for all rows, such as the seed.
        masks: after how many epochs the draws come again; None: never.
        examples: [R] the example that each row is, for scoring: its draws go by that, and batches carry it.
    """

    def __init__(
        self,
        rows: PackedRows,
        alter: Alter,
        *,
        key: Sequence[int],
        masks: int | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> None:
        self.rows = rows
        self.alter = alter
        self.key = tuple(key)
        self.masks = masks
        self.examples = examples

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[R] the inputs of each plain row."""
        return self.rows.lengths

    def __getitem__(self, index: int) -> Batch:
        """A batch of one row."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these rows, in this order; of none, one without a label."""
        if not indices:
            return no_example(self[0])
        epochs, rows = np.divmod(np.asarray(indices, np.int64), len(self))
        if self.masks is not None:
            epochs %= self.masks
        names = rows if self.examples is None else self.examples[rows]
        keys = [(*self.key, *drawn) for drawn in zip(epochs.tolist(), names.tolist(), strict=True)]
        batch = self.alter(self.rows.__getitems__(rows.tolist()), keys)
        of = batch.pop("examples", None)
        if self.examples is not None:
            batch["examples"] = torch.from_numpy(names if of is None else names[of.numpy()])
        return batch
