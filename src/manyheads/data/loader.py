"""The DataLoader that knows how far training has come, so that a checkpoint in mid-epoch resumes at the next batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from manyheads.batch import Batch
from manyheads.data.batches import as_is
from manyheads.data.sampler import Place, ResumableBatchSampler

MADE_OF = "made_of"
"""A state's entry: the fingerprint of the rows among which it is a place."""


class WholeBatches(Protocol):
    """A data set that makes whole batches itself."""

    def __getitem__(self, index: int) -> Batch: ...

    def __getitems__(self, indices: Sequence[int]) -> Batch: ...


class ResumableLoader(DataLoader[Batch]):
    """Loads the batches that a ResumableBatchSampler names, and counts those it has handed out.

    What workers have fetched ahead does not count. Lightning saves the `state_dict` of such a loader with its loops, asks
    for it only after it has trained on every batch that it took, and gives it back before the first batch.
    """

    def __init__(
        self,
        rows: WholeBatches,
        sampler: ResumableBatchSampler,
        *,
        num_workers: int = 0,
        pin: bool = False,
        made_of: str | None = None,
    ) -> None:
        """`made_of`: a fingerprint of the rows and their order. A place among rows of another one means nothing."""
        super().__init__(
            rows,  # type: ignore[arg-type]
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=as_is,
            pin_memory=pin,
            persistent_workers=num_workers > 0,
            # a generator of its own: the default one would draw a number from the global one at each epoch
            generator=torch.Generator().manual_seed(sampler.seed[0]),
        )
        self.rows, self.order, self.made_of = rows, sampler, made_of
        self._handed = 0
        self._from: Place = sampler.state_dict()

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Starts at the first `next`, not before: Lightning says which epoch it is only after it has called `iter`."""
        self._from, self._handed = self.order.state_dict(), 0
        for batch in self._batches():
            self._handed += 1
            yield batch

    def _batches(self) -> Iterator[Batch]:
        if self.num_workers or self.pin_memory:
            return super().__iter__()
        return map(self.rows.__getitems__, self.order)  # the same, in half of the time

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was handed out."""
        place = dict(self.order.after(self._handed if self.order.state_dict() == self._from else 0))
        return place if self.made_of is None else {**place, MADE_OF: self.made_of}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place; the next iteration starts there. Among other rows it starts with the first one."""
        place = Place(**{name: value for name, value in state.items() if name != MADE_OF})  # type: ignore[typeddict-item]
        if others(state, self.made_of):
            place["rows"] = 0  # the batches stay, for Lightning goes on with its own count of them
        self.order.load_state_dict(place)
        self._handed = 0


def others(state: Mapping[str, Any], made_of: str | None) -> bool:
    """Whether a loader's state is a place among other rows than those made of `made_of`; False where it is not known."""
    return made_of is not None and state.get(MADE_OF, made_of) != made_of
