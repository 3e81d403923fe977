"""FSDP2 (`trainer.strategy=fsdp`): each device holds a part of each weight, its gradient and its optimizer state."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import Optimizer

from manyheads import sharded
from manyheads.model.regions import repeated_blocks

METHODS = ("training_step", "validation_step", "test_step")


class FullySharded(DDPStrategy):
    """Fully sharded data parallelism (Rajbhandari et al. 2020, "ZeRO", stage 3; Zhao et al. 2023, "PyTorch FSDP").

    The repeated blocks of the network are gathered one at a time while they compute, what remains at once. A checkpoint
    is one file with whole tensors, the same as that of one device, so it resumes on any number of them.
    (Lightning's own ModelParallelStrategy refuses trainer.precision=64.)
    """

    strategy_name = "fsdp"

    def __init__(self, cpu_offload: bool = False) -> None:
        """`cpu_offload` keeps weights, gradients and optimizer state in the CPU's memory (Ren et al. 2021,
        "ZeRO-Offload")."""
        super().__init__()
        self.cpu_offload = cpu_offload

    def setup(self, trainer: pl.Trainer) -> None:
        """Shards the module, unless that was done before, and makes its optimizer."""
        assert self.accelerator is not None
        assert self.lightning_module is not None
        self.accelerator.setup(trainer)
        module, fitting = self.lightning_module, trainer.state.fn == TrainerFn.FITTING
        if not sharded.is_sharded(module):
            self.precision_plugin.convert_module(module)
            mesh = init_device_mesh(self.root_device.type, (self.world_size,))
            blocks = repeated_blocks(module.network)  # type: ignore[arg-type]
            sharded.shard(module, blocks, mesh, methods=METHODS, cpu_offload=self.cpu_offload)
        self.model_to_device()
        self.barrier()
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def model_to_device(self) -> None:
        """Moves what is not sharded; the rest is where it belongs."""
        assert self.lightning_module is not None
        module = self.lightning_module
        if not self.cpu_offload:
            module.to(self.root_device)
            return
        for part in module.modules():
            if not list(part.parameters()):
                part.to(self.root_device)
        module._device = self.root_device  # of the batches

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors in the CPU's memory, on the first rank; {} on the others. Names of one weight share it."""
        assert self.lightning_module is not None
        state = self.lightning_module.state_dict(keep_vars=True)
        once = {id(tensor): tensor for tensor in state.values()}
        made = {key: self._kept(tensor.detach()) for key, tensor in once.items()}
        return {name: made[id(tensor)] for name, tensor in state.items()} if self.is_global_zero else {}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state with whole tensors in the CPU's memory, on the first rank; {} on the others."""
        state: Any = super().optimizer_state(optimizer)
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

    def teardown(self) -> None:
        """Leaves the weights where they are: scoring follows on training."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()

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
    return {**state, "state": values}
