"""Which member of a mixture each optimizer step is of, and the loader that goes on with any of them where it was left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, final

import numpy as np
import torch
from numpy.typing import NDArray

from manyheads.batch import NO_EXAMPLE, Batch
from manyheads.data.loader import MADE_OF, ResumableLoader
from manyheads.data.mixing import interleaved


class TurnsPlace(TypedDict):
    """Where training stands among the members of a mixture."""

    epoch: int
    step: int  # optimizer steps of this epoch that were made
    of: int  # those that it has
    batches: int  # micro-batches of this epoch that each rank has taken
    members: dict[str, Any]  # where each member's own loader stands


def turns(steps: Sequence[int], weights: Sequence[float] | None) -> NDArray[np.int64]:
    """[S] the member whose turn each step of an epoch is, spread evenly (`interleaved`).

    Args:
        steps: of an epoch of each member by itself. An epoch has as many as those have together that are drawn from.
        weights: the share of each member, in any unit; None: `steps`, so that each is gone through once.
    """
    wanted = np.asarray(steps if weights is None else weights, np.float64)
    total = int(np.asarray(steps)[wanted > 0].sum())
    return interleaved((wanted / wanted.sum()).tolist(), total)


@final
class TurnsLoader:
    """Loads the batches of a mixture's members, each step's of one of them, and says of each batch of which (`member`).

    A member that is used up begins anew, in the order of its next epoch, also between the micro-batches of a step. It goes
    on in the next epoch of the mixture where it was left in this one.

    Args:
        members: the loader of each, by name.
        pattern: [S] the place in `members` of the one whose turn each step of an epoch is.
        micro_batches: in a step.
        made_of: a fingerprint of all rows and their order.
    """

    def __init__(
        self, members: Mapping[str, ResumableLoader], pattern: NDArray[np.int64], *, micro_batches: int, made_of: str
    ) -> None:
        self.members, self.micro_batches, self.made_of = members, micro_batches, made_of
        self.order = [list(members)[turn] for turn in pattern.tolist()]
        self._epoch = self._step = self._batches = 0
        self._running: dict[str, Iterator[Batch]] = {}

    @property
    def sampler(self) -> TurnsLoader:
        """Itself: Lightning calls `set_epoch` of a loader's sampler at the start of each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of another epoch. The epoch that it is in already is not started again."""
        if epoch != self._epoch:
            self._epoch, self._step, self._batches = epoch, 0, 0

    def __len__(self) -> int:
        """Micro-batches of this epoch: those that were taken and those that are left."""
        return self._batches + (len(self.order) - self._step) * self.micro_batches

    def __iter__(self) -> Iterator[Batch]:
        """Starts at the first `next`, not before: Lightning says which epoch it is only after it has called `iter`."""
        for step in range(self._step, len(self.order)):
            member = self.order[step]
            if member not in self._running:
                self._running[member] = _endless(self.members[member])
            for left in reversed(range(self.micro_batches)):
                batch = next(self._running[member])
                self._batches += 1
                self._step = step if left else step + 1
                yield Batch(**{**batch, "member": member})  # type: ignore[typeddict-item]

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was handed out. To be asked for when a step is over."""
        members = {name: loader.state_dict() for name, loader in self.members.items()}
        place = TurnsPlace(
            epoch=self._epoch, step=self._step, of=len(self.order), batches=self._batches, members=members
        )
        return {**place, MADE_OF: self.made_of}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to a place; the next iteration starts there. Where an epoch has another number of steps now, as many of them
        are left as were; a member whose rows are others begins its epoch anew."""
        self._running = {}
        for name, loader in self.members.items():
            if name in state["members"]:
                loader.load_state_dict(state["members"][name])
        of = len(self.order)
        self._step = min(round(state["step"] * of / max(1, state["of"])), of)
        self._epoch, self._batches = state["epoch"], state["batches"]

    def passes(self) -> dict[str, float]:
        """How many times each member was gone through."""
        places = {name: loader.state_dict() for name, loader in self.members.items()}
        return {
            name: place["epoch"] + place["rows"] / self.members[name].order.num_rows for name, place in places.items()
        }


def _endless(loader: ResumableLoader) -> Iterator[Batch]:
    """Epoch after epoch."""
    while True:
        yield from loader
        loader.order.set_epoch(loader.order.state_dict()["epoch"] + 1)


@final
class MemberBatches:
    """The batches of a member that are scored: each says of which member it is, and its examples have numbers that those of
    no other member have.

    Args:
        batches: the member's own.
        member: its name.
        first: what is added to the numbers of its examples.
    """

    def __init__(self, batches: Any, *, member: str, first: int) -> None:
        self.batches, self.member, self.first = batches, member, first

    def __len__(self) -> int:
        """As many as the member's own."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            made = {**batch, "member": self.member}
            if "examples" in batch:
                numbers = batch["examples"]
                made["examples"] = torch.where(numbers == NO_EXAMPLE, numbers, numbers + self.first)
            yield Batch(**made)  # type: ignore[typeddict-item]
