"""Tensor parallelism (`trainer.strategy=tensor_parallel`): devices compute each layer of a decoder together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn
from torch.optim import Optimizer

from manyheads import ranks, sharded
from manyheads.errors import UserError, check_count
from manyheads.model.decoder import Decoder
from manyheads.model.tensor_parallel import check_divides, parallelize
from manyheads.whole_checkpoints import WholeCheckpoints


class TensorParallel(WholeCheckpoints, ModelParallelStrategy):
    """The devices of a group read the same rows, and each computes some of the heads and feed-forward columns
    (`manyheads.model.tensor_parallel`); several groups are data-parallel, and read different rows.

    Neighbours are a group: devices 0 and 1, then 2 and 3. Lightning's part is the mesh of devices and what goes around
    it; sharing out the network, and averaging gradients over groups, it leaves to its user. Checkpoints go another way
    than its own, so that those of all our strategies are one file that is written and read alike.
    """

    strategy_name = "tensor_parallel"

    def __init__(self, tensor_parallel_size: int | None = None) -> None:
        """`tensor_parallel_size`: devices in a group; None: all of a machine."""
        if tensor_parallel_size is not None:
            check_count("trainer.strategy_options.tensor_parallel_size", tensor_parallel_size)
        super().__init__(tensor_parallel_size=tensor_parallel_size or "auto", save_distributed_checkpoint=False)
        self.tensor_parallel_size = tensor_parallel_size

    @property
    def group_size(self) -> int:
        """How many devices compute the same rows together."""
        return self.tensor_parallel_size or self.num_processes

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Which rows this device reads: those of its group."""
        return {"num_replicas": self.world_size // self.group_size, "rank": self.global_rank // self.group_size}

    @property
    def lightning_restore_optimizer(self) -> bool:
        """A checkpoint is read as that of one device, the optimizer's state included."""
        return True

    def check(self, network: nn.Module, *, compiled: bool = False) -> None:
        """Raises UserError for devices that make no groups, and for a network that they cannot compute together."""
        size, devices = self.group_size, self.world_size
        if devices % size:
            raise UserError(
                f"trainer.strategy_options.tensor_parallel_size={size} does not divide the {devices} device(s). "
                "Set null for all of them, or a number that does."
            )
        if not isinstance(network, Decoder):
            raise UserError(
                f"trainer.strategy=tensor_parallel shares out a Decoder, and model is a {type(network).__name__}. "
                "Set trainer.strategy=ddp, or fsdp."
            )
        if compiled:
            raise UserError(
                "compile=true does not go with trainer.strategy=tensor_parallel. Set compile=false, or "
                "trainer.strategy=ddp."
            )
        if size > 1:
            check_divides(network, size)

    def setup_environment(self) -> None:
        """Joins the devices and makes their mesh, once: a mesh has process groups of its own."""
        if self._device_mesh is None:
            self._data_parallel_size = self.distributed_sampler_kwargs["num_replicas"]
            super().setup_environment()
        else:
            self._setup_distributed()
        ranks.set_data_parallel(self.device_mesh["data_parallel"].get_group())

    def setup(self, trainer: pl.Trainer) -> None:
        """Shares out the network, unless that was done before, and makes its optimizer."""
        assert self.accelerator is not None
        assert self.lightning_module is not None
        self.accelerator.setup(trainer)
        module: Any = self.lightning_module
        if not sharded.is_sharded(module):
            self.precision_plugin.convert_module(module)
            parallelize(module.network, self.device_mesh["tensor_parallel"])
        self.model_to_device()  # what is whole: a part is made on its device
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """The step, with gradients that are means over the groups."""

        def averaged() -> Any:
            result = closure()
            self._average_gradients()
            return result

        return super().optimizer_step(optimizer, averaged, model, **kwargs)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """What the file holds; `load_model_state_dict` and `load_optimizer_state_dict` take each rank's part of it."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only=weights_only)  # type: ignore[arg-type]

    def _average_gradients(self) -> None:
        count = ranks.data_parallel_size()
        if count == 1:
            return
        assert self.lightning_module is not None
        gradients = [sharded.local(p.grad) for p in self.lightning_module.parameters() if p.grad is not None]
        for gradient in gradients:
            dist.all_reduce(gradient, group=ranks.data_parallel())  # gloo knows no mean
            gradient.div_(count)
