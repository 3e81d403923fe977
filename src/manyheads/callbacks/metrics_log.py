"""What is written to the loggers, and when: one x-axis, the optimizer step, with the tokens beside it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from manyheads.callbacks.spikes import SkipSpikes
from manyheads.callbacks.step import as_lm, is_fitting, log_is_due, step_is_done, training_is_over
from manyheads.callbacks.throughput import Throughput


class MetricsLog(pl.Callback):
    """Logs training every `trainer.log_every_n_steps` optimizer steps, after the first and after the last, and each validation.

    `train/loss` is the sum of losses over the number of labels since the last row, in nats per token: it does not depend
    on how batches were cut, and losses that only training has are not in it: those are `train/<name>`, each without its
    coefficient. `optim/lr` is the learning rate that the step was made with. `train/skipped_steps` counts those of the
    whole run, where steps may be skipped.
    """

    def __init__(self, throughput: Throughput, spikes: SkipSpikes | None = None) -> None:
        self.throughput = throughput
        self.spikes = spikes
        self.last: dict[str, float] = {}  # the newest value of each name
        self.last_step = -1  # the optimizer step of the newest row of training
        self._lr = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts rows from the step that training begins with."""
        self.last_step = trainer.global_step

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Notes the learning rate of the step."""
        # at the end of the batch the schedule has already moved on
        self._lr = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs the first step, and those that are due."""
        if step_is_done(trainer) and (trainer.global_step == 1 or log_is_due(trainer)):
            self._log_training(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the last step, unless it is logged."""
        if trainer.global_step > self.last_step:
            self._log_training(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the last step before its validation."""
        # the last row of training stands before the last validation, as every other does
        if is_fitting(trainer) and training_is_over(trainer) and trainer.global_step > self.last_step:
            self._log_training(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the scores of a validation, and the tokens so far."""
        if is_fitting(trainer) and not trainer.sanity_checking:
            metrics = {
                name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")
            }
            self._write(trainer, {**metrics, "train/tokens": as_lm(pl_module).tokens_seen})

    def _log_training(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        lm = as_lm(pl_module)
        loss_sum, count = lm.train_totals.take()  # waits for the device, so the lap below is true
        metrics: dict[str, float] = {"train/tokens": lm.tokens_seen, "optim/lr": self._lr}
        if count:
            metrics["train/loss"] = loss_sum / count
        for name, totals in lm.train_terms.items():
            term, over = totals.take()
            if over:
                metrics[f"train/{name}"] = term / over
        if lm.last_grad_norm is not None:
            metrics["train/grad_norm"] = float(lm.last_grad_norm)
        if self.spikes is not None:
            metrics["train/skipped_steps"] = self.spikes.skipped
        rate = self.throughput.lap(lm.tokens_seen)
        # the first step chooses kernels, or compiles: its rate says nothing
        if rate is not None and trainer.global_step > 1:
            metrics["perf/tokens_per_sec"] = rate
        self.last_step = trainer.global_step
        self._write(trainer, metrics)

    def _write(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        self.last.update(metrics)
        write_row(trainer, metrics)


def write_row(trainer: pl.Trainer, metrics: dict[str, float]) -> None:
    """Hands numbers of the optimizer step that was just made to every logger."""
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
        logger.save()
