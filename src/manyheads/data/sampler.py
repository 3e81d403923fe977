"""Which rows come next: an order made from (seed, epoch) alone, and a place in it that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class Place(TypedDict):
    """Where a sampler stands."""

    epoch: int
    rows: int  # rows of this epoch that all ranks have taken together
    batches: int  # micro-batches of this epoch that each rank has taken


class ResumableBatchSampler(Sampler[list[int]]):
    """Batches of row numbers, the same on every machine, that go on from any place of an epoch.

    The order is cut into global batches of `batch_size * world` rows, of which rank r takes every `world`-th row from
    the r-th on. So the place is a number of rows, which holds for another batch size and another number of ranks too,
    and no row comes twice in an epoch.

    Args:
        num_rows: rows of the split.
        batch_size: rows in a micro-batch of one rank.
        seed: with the epoch, what the order is made from.
        shuffle: whether rows are permuted in each epoch; otherwise they come in order.
        rank: this process's number.
        world: the number of processes.
        drop_last: leaves out the rows of an epoch that do not fill a global batch.
        even: every rank gets the same number of batches, as training needs: fewer than `world` rows at an epoch's end
            are left out of it. When scoring, no row may be, so the last batch of some ranks may have none: ranks that
            share the weights of a network wait for one another in every batch.
        order: [num_rows] the rows of an epoch, given its number; None: every row once.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        *,
        seed: int | Sequence[int],
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        even: bool = True,
        order: Callable[[int], NDArray[np.int64]] | None = None,
    ) -> None:
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.seed = [seed] if isinstance(seed, int) else [*seed]
        self.shuffle = shuffle
        self.rank = rank
        self.world = world
        self._given_order = order
        self._shortest = batch_size * world if drop_last else world if even else 1  # of a global batch
        self._place = Place(epoch=0, rows=0, batches=0)

    @property
    def sampler(self) -> ResumableBatchSampler:
        """Itself: Lightning calls `set_epoch` of a batch sampler's sampler at the start of each epoch."""
        return self

    @property
    def global_batch(self) -> int:
        """Rows that all ranks take together in one micro-batch."""
        return self.batch_size * self.world

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of another epoch. The epoch that it is in already is not started again."""
        if epoch != self._place["epoch"]:
            self._place = Place(epoch=epoch, rows=0, batches=0)

    def state_dict(self) -> Place:
        """The place from which `__iter__` starts."""
        return self._place.copy()

    def load_state_dict(self, state: Place) -> None:
        """Goes to a place."""
        self._place = state.copy()

    def after(self, batches: int) -> Place:
        """The place after so many more batches than `state_dict` says."""
        rows = min(self._place["rows"] + batches * self.global_batch, self.num_rows)
        return Place(epoch=self._place["epoch"], rows=rows, batches=self._place["batches"] + batches)

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this rank from the place on to the end of the epoch."""
        order = self._order()
        for start in range(self._place["rows"], self.num_rows, self.global_batch):
            rows = order[start : start + self.global_batch]
            if len(rows) >= self._shortest:
                yield rows[self.rank :: self.world].tolist()

    def __len__(self) -> int:
        """Batches of a whole epoch.

        In an epoch that was begun with smaller batches it is those already taken and those still to come, if they are
        more: Lightning goes on with its own count of batches, and ends the epoch where it has reached this number.
        """
        return max(
            self._count(self.num_rows), self._place["batches"] + self._count(self.num_rows - self._place["rows"])
        )

    def _count(self, rows: int) -> int:
        """Batches in the last so many rows of an epoch."""
        whole, rest = divmod(rows, self.global_batch)
        return whole + (rest > 0 and rest >= self._shortest)

    def _order(self) -> np.ndarray:
        if self._given_order is not None:
            return self._given_order(self._place["epoch"])
        if not self.shuffle:
            return np.arange(self.num_rows)
        return np.random.default_rng([*self.seed, self._place["epoch"]]).permutation(self.num_rows)
