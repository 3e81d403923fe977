"""A loss that is not finite ends the run, and never reaches a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from manyheads import ranks, sharded
from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.step import as_lm, is_fitting, log_is_due, step_is_done
from manyheads.errors import OtherRankError, UserError


class StopWhenNotFinite(pl.Callback):
    """Watches every loss; raises UserError with the step, the last good checkpoint and what to try.

    The step is noted on the device and read at the log interval and before each save, so that a GPU is not waited for
    at every step; on the CPU, where nothing is waited for, every step is looked at (`every_step` says otherwise).
    Weights are checked before they are scored and saved: a step can overflow where its loss was finite. They alone are,
    with `losses=False`, for a run that skips steps that are not finite.
    """

    def __init__(self, checkpoint: RunCheckpoint, every_step: bool | None = None, *, losses: bool = True) -> None:
        self.checkpoint = checkpoint
        self.every_step = every_step
        self.losses = losses
        self._first_bad: Tensor | None = None  # [] int64, the first optimizer step with a bad loss; -1: none

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins with no step that was bad."""
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks at the loss, of several devices at the gradient's norm; without a wait for the device where that costs time."""
        if not self.losses:
            return
        loss, done = outputs["loss"], step_is_done(trainer)
        if trainer.world_size > 1:  # of what all ranks know alike: they stop together
            if done and (norm := as_lm(pl_module).last_grad_norm) is not None and not math.isfinite(float(norm)):
                self._stop(trainer, trainer.global_step)
            return
        step = trainer.global_step + (0 if done else 1)
        if loss.device.type == "cpu" if self.every_step is None else self.every_step:
            if not math.isfinite(loss.item()):
                self._stop(trainer, step)
            return
        assert self._first_bad is not None
        new = (self._first_bad < 0) & ~loss.isfinite()
        self._first_bad = torch.where(new, step, self._first_bad)
        if done and log_is_due(trainer):
            self._check(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops when a loss was not finite, and in training when a weight is not."""
        self._check(trainer)
        if is_fitting(trainer):
            self._check_weights(trainer, pl_module.state_dict())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops a training whose validation loss is not finite."""
        loss = trainer.callback_metrics.get("val/loss")
        if is_fitting(trainer) and loss is not None and not torch.isfinite(loss):
            self._stop(trainer, trainer.global_step, "the validation loss is")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stops before weights are saved that are not finite."""
        self._check(trainer)
        self._check_weights(trainer, checkpoint["state_dict"])

    def _check_weights(self, trainer: pl.Trainer, weights: Mapping[str, Tensor]) -> None:
        finite = all(sharded.local(w).isfinite().all() for w in weights.values() if w.is_floating_point())
        if sharded.are_parts(weights.values()):  # of which each rank looks at its own: they stop together
            finite = all(ranks.gathered(finite))
        if not finite:
            self._stop(trainer, trainer.global_step, "the network's weights are")

    def _check(self, trainer: pl.Trainer) -> None:
        step = -1 if self._first_bad is None else int(self._first_bad)
        if step >= 0:
            self._stop(trainer, step)

    def _stop(self, trainer: pl.Trainer, step: int, what: str = "the loss is") -> None:
        if not trainer.is_global_zero:
            raise OtherRankError(f"{what} not finite, as the first rank says")
        path = self.checkpoint.last_path
        kept = f"{path} is whole and from before that." if path.exists() else "No checkpoint had been saved yet."
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        raise UserError(
            f"At step {step} {what} not finite; training stopped. {kept}\n"
            f"Try a smaller optim.lr (it was {lr:.3g} at that step), a longer optim.warmup_steps, "
            "or a smaller trainer.gradient_clip_val."
        )
