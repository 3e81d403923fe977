"""The states behind what was read of each lane of text, from one batch to the next."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from manyheads.batch import Batch
from manyheads.decoding.cache import StateCache, States


class LaneStates(NamedTuple):
    """The states of all lanes, of which a rank knows its own."""

    states: States  # [layers x directions, lanes, ..] each
    known: Tensor  # [lanes] bool, whether this process has read the lane


class Carried:
    """What a network keeps of the lanes that it reads: the state behind each one's last row, without its gradient, so that
    gradients end where a batch begins (truncated back-propagation through time: Williams and Peng 1990, "An Efficient
    Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories"; with the state carried on as in Mikolov
    et al. 2010, "Recurrent neural network based language model").

    Training and scoring have states of their own: a validation in the middle of an epoch leaves those of training as they
    are. Nothing is forgotten by hand: a row whose positions begin at 0 takes no state up, and the first row of every lane
    is such a row.
    """

    def __init__(self) -> None:
        self._training: LaneStates | None = None
        self._scoring: LaneStates | None = None

    def of(self, batch: Batch, training: bool) -> LaneCache | None:
        """The states that the rows of the batch go on from, as a cache that takes those behind it; None for a batch of rows
        that stand alone."""
        return LaneCache(self, batch["lanes"], batch["num_lanes"], training) if "lanes" in batch else None

    def read(self, lanes: Tensor, num_lanes: int, training: bool) -> States | None:
        """The states of some lanes, [N] int64; None where none of so many lanes was read."""
        kept = self._training if training else self._scoring
        if kept is None or len(kept.known) != num_lanes:
            return None
        return tuple(state.to(lanes.device)[:, lanes] for state in kept.states)

    def write(self, lanes: Tensor, num_lanes: int, training: bool, states: States) -> None:
        """Keeps the states of some lanes, [N] int64."""
        kept = self._training if training else self._scoring
        if kept is None or len(kept.known) != num_lanes:
            none = (state.new_zeros(state.shape[0], num_lanes, *state.shape[2:]) for state in states)
            kept = LaneStates(tuple(none), torch.zeros(num_lanes, dtype=torch.bool, device=lanes.device))
        pairs = zip(kept.states, states, strict=True)
        # never in place: what a validation in inference mode has kept may be read outside of it
        new = LaneStates(
            tuple(old.to(state).index_copy(1, lanes, state.detach()) for old, state in pairs),
            kept.known.to(lanes.device).index_fill(0, lanes, True),
        )
        if training:
            self._training = new
        else:
            self._scoring = new

    @property
    def training(self) -> LaneStates | None:
        """The states of training, to be saved; None where no lane was trained on."""
        return self._training

    @training.setter
    def training(self, states: LaneStates | None) -> None:
        """Goes on from those that were saved."""
        self._training = states


class LaneCache(StateCache):
    """The states that the rows of one batch go on from; what is put into it goes back to the lanes."""

    def __init__(self, carried: Carried, lanes: Tensor, num_lanes: int, training: bool) -> None:
        super().__init__(batch_size=len(lanes), max_len=0)
        self._place = (lanes, num_lanes, training)
        self._carried = carried
        self.states = carried.read(*self._place)

    def put(self, states: States, num_new: int) -> None:
        """Takes the states behind the batch."""
        self._carried.write(*self._place, states)
