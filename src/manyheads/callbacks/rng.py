"""The state of every random number generator, so that a resumed run draws what the uninterrupted one would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist

from manyheads import ranks


class RngState(pl.Callback):
    """Puts each rank's generator states into the checkpoint and takes them up when training starts again.

    They are taken up at the start of training, not when the checkpoint is read: in between, data loaders draw seeds.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """{"ranks": the states of each rank}; made by all ranks together."""
        states: list[Any] = [rng_state()]
        if dist.is_available() and dist.is_initialized():
            states = [None] * dist.get_world_size()
            dist.all_gather_object(states, rng_state())
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps this rank's states for the start of training; a rank that the checkpoint does not know keeps its own."""
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        states = state_dict["ranks"]
        self._loaded = states[rank] if rank < len(states) else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts back the state of a checkpoint; without one, ranks that read other rows than the first draw other numbers."""
        if self._loaded is not None:
            set_rng_state(self._loaded)
            self._loaded = None
        elif (number := ranks.data_parallel_rank()) > 0:
            # all ranks have drawn the same first weights; from here on those that read other rows draw other numbers
            pl.seed_everything(derived_seed(torch.initial_seed(), number), verbose=False)


def derived_seed(seed: int, rank: int) -> int:
    """The seed of a rank's own numbers, from the run's."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])


def rng_state() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, of types that load with `weights_only=True`."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        # int64, since a checkpoint holds no numpy arrays and torch's uint32 is half supported
        "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Sets every generator to `state`; CUDA's only when there are as many devices as there were."""
    random.setstate(state["python"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
