"""FSDP2 (`trainer.strategy=fsdp`): each device holds a part of each weight, its gradient and its optimizer state."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch.distributed.device_mesh import init_device_mesh

from manyheads import sharded
from manyheads.model.regions import repeated_blocks
from manyheads.whole_checkpoints import WholeCheckpoints

METHODS = ("training_step", "validation_step", "test_step")


class FullySharded(WholeCheckpoints, DDPStrategy):
    """Fully sharded data parallelism (Rajbhandari et al. 2020, "ZeRO", stage 3; Zhao et al. 2023, "PyTorch FSDP").

    The repeated blocks of the network are gathered one at a time while they compute, what remains at once. (Lightning's
    ModelParallelStrategy would add a mesh with a second dimension, which nothing here uses.)
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

    def teardown(self) -> None:
        """Leaves the weights where they are: scoring follows on training."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()
