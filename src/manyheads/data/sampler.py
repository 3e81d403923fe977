"""Which rows come next: an order made from (seed, epoch) alone, and a place in it that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

POOL = 50
"""How many global batches are sorted by length together; more of them are padded less and mixed less."""


class Place(TypedDict):
    """Where a sampler stands."""

    epoch: int
    rows: int  # rows of this epoch that all ranks have taken together
    batches: int  # micro-batches of this epoch that each rank has taken
    group: NotRequired[int]  # rows of like lengths that stand together in this epoch; absent: they do not
    lanes: NotRequired[int]  # of a LaneSampler, how many lanes the rows are in


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
        drop_last: leaves out the rows of an epoch that do not fill a global batch. Otherwise the last batch of some ranks
            may have no row: all have the same number of batches, for they wait for one another in each.
        order: [num_rows] the rows of an epoch, given its number; None: every row once.
        lengths: [num_rows] tokens of each row: rows that are permuted stand beside others of about their length, so that a
            step needs little padding. An epoch that is gone on with keeps the groups that it began with.
        micro_batches: how many batches make a step, whose rows are of about one length.
        numbers_per_epoch: added to the numbers of the rows for each epoch before this one, so that who makes the rows can
            tell the epoch (`AlteredRows`); 0: a row has the same number in each.
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
        order: Callable[[int], NDArray[np.int64]] | None = None,
        lengths: NDArray[np.int64] | None = None,
        micro_batches: int = 1,
        numbers_per_epoch: int = 0,
    ) -> None:
        assert order is None or lengths is None
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.seed = [seed] if isinstance(seed, int) else [*seed]
        self.shuffle = shuffle
        self.rank = rank
        self.world = world
        self._numbers_per_epoch = numbers_per_epoch
        self._given_order = order
        self._lengths = lengths if shuffle else None
        self._rows_of_step = batch_size * world * micro_batches
        self._shortest = batch_size * world if drop_last else 1  # of a global batch
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
        place = Place(epoch=self._place["epoch"], rows=rows, batches=self._place["batches"] + batches)
        if rows and self._group is not None:
            place["group"] = self._group
        return place

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this rank from the place on to the end of the epoch."""
        order = self._order()
        if self._numbers_per_epoch:
            order = order + self._place["epoch"] * self._numbers_per_epoch
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

    @property
    def _group(self) -> int | None:
        """Rows of like lengths that stand together in this epoch."""
        if self._lengths is None:
            return None
        return self._place.get("group") if self._place["rows"] else self._rows_of_step

    def _order(self) -> np.ndarray:
        if self._given_order is not None:
            return self._given_order(self._place["epoch"])
        if not self.shuffle:
            return np.arange(self.num_rows)
        random = np.random.default_rng([*self.seed, self._place["epoch"]])
        order = random.permutation(self.num_rows)
        if self._lengths is None or self._group is None:
            return order
        return by_length(order, self._lengths, self._group, random)


def by_length(
    order: NDArray[np.int64], lengths: NDArray[np.int64], group: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """The rows of `order` in groups of like `lengths`: pools of POOL groups are sorted, cut, and all groups shuffled.

    Rows that fill no group are the last ones of `order`, so that they are not always of one length, and come last.

    Source: torchtext 0.8, `pool` of data/iterator.py, whose pools are of 100 batches.
    """
    whole = len(order) - len(order) % group
    pools = np.split(order[:whole], range(POOL * group, whole, POOL * group))
    sorted_ = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    groups = sorted_.reshape(-1, group)
    return np.concatenate([groups[random.permutation(len(groups))].ravel(), order[whole:]])
