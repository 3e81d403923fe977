"""Checkpoints of whole tensors, from ranks that each hold a part of them: the one file that one device would write."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor
from torch.optim import Optimizer

from manyheads import sharded

KERNELS = ("fused", "foreach")
"""How an optimizer computes: which way works depends on how its parameters are held, so a checkpoint does not say."""


class WholeCheckpoints(Strategy, ABC):
    """Puts checkpoints together on the first rank, and takes each rank's part of one. It resumes on any number of ranks."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors in the CPU's memory, on the first rank; {} on the others. Names of one weight share it."""
        assert self.lightning_module is not None
        state = self.lightning_module.state_dict(keep_vars=True)
        once = {id(tensor): tensor for tensor in state.values()}
        made = {key: self._kept(tensor.detach()) for key, tensor in once.items()}
        return {name: made[id(tensor)] for name, tensor in state.items()} if self.is_global_zero else {}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state with whole tensors in the CPU's memory, on the first rank; {} on the others."""
        state: Any = Strategy.optimizer_state(self, optimizer)
        values: dict[Any, Any] = {
            number: {name: self._kept(value) if isinstance(value, Tensor) else value for name, value in each.items()}
            for number, each in state["state"].items()
        }
        return {**state, "state": values} if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes each rank's part of the whole tensors."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_in_parts(state, optimizer))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Takes each rank's part of the whole tensors."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        values = {name: value for name, value in checkpoint["state_dict"].items() if strict or name in own}
        self.lightning_module.load_state_dict({
            name: sharded.part_of(value, own.get(name, value)) for name, value in values.items()
        }, strict=strict)  # fmt: skip

    def _kept(self, tensor: Tensor) -> Tensor:
        found = sharded.whole(tensor)
        return found.cpu() if self.is_global_zero else torch.empty(0)


def _in_parts(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's state of whole tensors, with those that are as large as their parameter in parts as it is."""
    numbers = chain.from_iterable(group["params"] for group in state["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    values: dict[Any, Any] = {}
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in state["state"]:
            values[number] = {
                name: sharded.part_of(value, parameter)
                if isinstance(value, Tensor) and value.shape == parameter.shape
                else value
                for name, value in state["state"][number].items()
            }
    groups = [
        {**group, **{name: own[name] for name in KERNELS if name in own}}
        for group, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**state, "state": values, "param_groups": groups}
