"""The states that a network carries from row to row, so that a resumed run goes on with those it had."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from manyheads import ranks
from manyheads.callbacks.step import as_lm, is_fitting
from manyheads.model.carried import Carried, LaneStates

CARRIED = "carried_states"
"""A checkpoint's entry: the states behind what training has read of each lane."""


class LaneStatesKept(pl.Callback):
    """Puts the states of the lanes of all ranks into the checkpoint, and gives every rank all of them when training goes on:
    on another number of ranks a lane is read by another one. Does nothing for a network that carries none."""

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the states, where some lane was trained on; made by all ranks together."""
        carried = carried_by(pl_module)
        if carried is None:
            return
        parts = ranks.gathered(_own(carried.training), ranks.data_parallel())
        found = [part for part in parts if part is not None]
        if not found:
            return
        # a rank that has read nothing since it went on still has those that it went on from
        states = [state.clone() for state in found[0].states]
        for part in found:
            for whole, state in zip(states, part.states, strict=True):
                whole[:, part.known] = state[:, part.known]
        checkpoint[CARRIED] = {"states": states}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Goes on from the states of the checkpoint, in the precision that the weights are in now."""
        carried = carried_by(pl_module)
        if carried is None or CARRIED not in checkpoint or not is_fitting(trainer):
            return
        dtype = next(as_lm(pl_module).network.parameters()).dtype
        states: list[Tensor] = [state.to(dtype) for state in checkpoint[CARRIED]["states"]]
        carried.training = LaneStates(tuple(states), torch.zeros(states[0].shape[1], dtype=torch.bool))


def carried_by(module: pl.LightningModule) -> Carried | None:
    """What the network keeps of lanes; None for one that keeps nothing."""
    return getattr(as_lm(module).network, "carried", None)


def _own(kept: LaneStates | None) -> LaneStates | None:
    """On the CPU, to be sent to the other ranks."""
    return kept and LaneStates(tuple(state.cpu() for state in kept.states), kept.known.cpu())
