"""Averaged weights in the place of the trained ones wherever weights are judged or kept."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.nn import Parameter

from manyheads import sharded
from manyheads.callbacks.step import as_lm, is_fitting, step_is_done
from manyheads.errors import UserError
from manyheads.optim.averaging import RunningAverage
from manyheads.optim.base import AveragingOptimizer

TRAINED = "trained_weights"
"""A checkpoint's entry: the weights to go on from, by name, where "state_dict" holds averages."""


class Averaging(pl.Callback):
    """Validates, writes samples and saves with averaged weights: those of `running`, or of an optimizer that averages.

    The trained weights come back to the bit, so validating changes nothing. Runs after what looks at a validation's
    weights and before what saves. Lightning's WeightAveraging copies the module with all that hangs on it, puts the
    trained weights back before samples are written, and loses them at the end, so that no longer run can follow.
    """

    def __init__(self, running: RunningAverage | None = None) -> None:
        self.running = running
        self._aside: dict[Parameter, Tensor] = {}  # the trained weights while averages stand in their place
        self._loaded: dict[str, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes up the averages of a checkpoint. Raises UserError where an optimizer averages itself, or weights are in parts."""
        averages_itself = isinstance(trainer.optimizers[0], AveragingOptimizer)
        if self.running is not None and averages_itself:
            raise UserError(
                f"callbacks.averaging={self.running.kind}: this optimizer averages weights itself. "
                "Set callbacks.averaging=null, or another optim."
            )
        if (self.running is not None or averages_itself) and not _holds_whole_weights(trainer, pl_module):
            what = (
                "optim averages"
                if averages_itself
                else f"callbacks.averaging={self.running and self.running.kind} averages"
            )
            raise UserError(
                f"{what} whole weights, and trainer.strategy leaves each device a part of them. Set trainer.strategy=ddp."
            )
        if TRAINED in self._loaded:
            self._take_up(pl_module)
        self._loaded = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the weights to the average after each optimizer step, from its start on."""
        if self.running is None or not step_is_done(trainer):
            return
        if self.running.averages or as_lm(pl_module).progress() >= self.running.start:
            self.running.update(_trained(pl_module))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lays the trained weights aside and puts the averages in their place."""
        if is_fitting(trainer) and not trainer.sanity_checking:
            averages = self._averages(trainer, pl_module)
            self._aside = {parameter: parameter.detach().clone() for parameter in averages}
            _put(averages)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the trained weights back."""
        self._put_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Puts the trained weights back, where a validation was under way."""
        self._put_back()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Saves the averages as the weights, and the trained ones beside them."""
        averages = {p: p.detach() for p in self._aside} or self._averages(trainer, pl_module)
        if not averages:
            return
        own = [(name, p) for name, p in pl_module.named_parameters(remove_duplicate=False) if p in averages]
        checkpoint[TRAINED] = {name: self._aside.get(parameter, parameter.detach()) for name, parameter in own}
        for name, parameter in own:
            assert name in checkpoint["state_dict"]
            checkpoint["state_dict"][name] = averages[parameter]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps both for the start of training, when the parameters are where they will be trained."""
        if is_fitting(trainer):
            self._loaded = {name: checkpoint[name] for name in (TRAINED, "state_dict") if name in checkpoint}

    def state_dict(self) -> dict[str, Any]:
        """How many steps the averages are over; nothing where none are kept."""
        return {} if self.running is None else {"kind": self.running.kind, "count": self.running.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with an average of the same kind; one of another kind begins anew."""
        if self.running is not None and state_dict["kind"] == self.running.kind:
            self.running.count = state_dict["count"]

    def _take_up(self, pl_module: pl.LightningModule) -> None:
        if self.running is not None and self.running.count:
            names = {parameter: name for name, parameter in pl_module.named_parameters()}
            saved = [(p, self._loaded["state_dict"][names[p]]) for p in _trained(pl_module)]
            self.running.averages = [value.to(p.device, copy=True) for p, value in saved]
        named = dict(pl_module.named_parameters())
        _put({named[name]: value for name, value in self._loaded[TRAINED].items() if name in named})

    def _averages(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[Parameter, Tensor]:
        """The weights to judge in the place of each parameter; empty where those are the trained ones."""
        if self.running is not None:
            return dict(zip(_trained(pl_module), self.running.averages, strict=False))
        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        return optimizer.averages() if isinstance(optimizer, AveragingOptimizer) else {}

    def _put_back(self) -> None:
        _put(self._aside)
        self._aside = {}


def _trained(module: pl.LightningModule) -> list[Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@torch.no_grad()
def _put(values: dict[Parameter, Tensor]) -> None:
    for parameter, value in values.items():
        parameter.copy_(value)


def _holds_whole_weights(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    return isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy) and not sharded.is_sharded(module)
