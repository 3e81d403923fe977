"""A learning rate for this run's model and data, found by trying all of them in one short training."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from manyheads.atomic import replacing
from manyheads.callbacks.metrics_log import MetricsLog
from manyheads.callbacks.step import as_lm, step_is_done, training_is_over
from manyheads.errors import UserError

LOWEST, HIGHEST = 1e-3, 1e2
"""The range, times the rates that are set."""
SMOOTHING = 5  # losses on either side that a loss is averaged with
LEAST = 10  # losses before a suggestion is made
WORSE = 4.0  # times the best loss: the end


class FindLr(pl.Callback):
    """Lets the rate grow from a thousandth to a hundred times what is set, each step by the same factor, and says which.

    Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3, on an exponential scale. All groups
    grow together, so what they are to one another stays. It ends with the budget, or when the loss is four times the best
    or not finite. The weights are then those of the start again: nothing of such a training is worth keeping.
    Lightning's lr_find sets one rate for all groups, and trains in a loop of its own.

    Args:
        path: where the curve goes: a CSV file with a row for each step.
        log: logs each step; what it logs is the loss of the step.
    """

    def __init__(self, *, console: Console, path: Path, log: MetricsLog) -> None:
        self.console = console
        self.path = path
        self.log_rows = log
        self.factors: list[float] = []
        self.losses: list[float] = []
        self._start: dict[str, Tensor] = {}
        self._factor = factor_at(0.0)  # of the next step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the weights, and lets the learning rate climb in the place of the schedule. Raises UserError unless each step is logged."""
        if cast(Any, trainer).log_every_n_steps != 1:
            raise UserError("callbacks.find_lr=true looks at the loss of each step. Set trainer.log_every_n_steps=1.")
        self._start = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}
        scheduler = trainer.lr_scheduler_configs[0].scheduler
        assert isinstance(scheduler, LambdaLR)
        lm = as_lm(pl_module)

        def course(step: int) -> float:
            self._factor = factor_at(lm.progress(step))
            return self._factor

        scheduler.lr_lambdas = [course] * len(scheduler.base_lrs)
        for group, rate in zip(trainer.optimizers[0].param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = rate * self._factor

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Notes the factor of the rate that the step is made with."""
        self.factors.append(self._factor)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the loss, stops where it has become far worse than the best, and puts the first weights back at the end."""
        if not step_is_done(trainer):
            return
        self.losses.append(self.log_rows.last["train/loss"])
        if not self.losses[-1] <= WORSE * min(self.losses):
            trainer.should_stop = True
        if training_is_over(trainer):
            pl_module.load_state_dict(self._start)
            trainer.optimizers[0].state.clear()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the curve, and says which rate to set."""
        if not trainer.is_global_zero:
            return
        scheduler, optimizer = trainer.lr_scheduler_configs[0].scheduler, trainer.optimizers[0]
        rates = {
            group.get("key", "lr"): rate for group, rate in zip(optimizer.param_groups, scheduler.base_lrs, strict=True)
        }
        self._write_curve(rates)
        factor = suggestion(self.factors, self.losses)
        if factor is None:
            text = "find_lr: the loss did not fall at any rate; try more steps (trainer.max_steps) or another optim.lr."
        else:
            keys = " ".join(f"optim.{key}={float(f'{rate * factor:.2g}')}" for key, rate in rates.items())
            text = f"find_lr: the loss falls fastest at {keys}"
        self.console.print(Text(text, style="bold"), soft_wrap=True)
        self.console.print(Text(f"the curve: {self.path}"), soft_wrap=True)

    def _write_curve(self, rates: Mapping[str, Any]) -> None:
        with replacing(self.path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*(f"optim.{key}" for key in rates), "loss", "smoothed_loss"])
            curve = zip(self.factors, self.losses, smoothed(self.losses), strict=True)
            writer.writerows([*(rate * factor for rate in rates.values()), *losses] for factor, *losses in curve)


def factor_at(fraction: float) -> float:
    """What the rates are multiplied by when so much of the budget is used: exponential from LOWEST to HIGHEST."""
    return LOWEST * (HIGHEST / LOWEST) ** fraction


def smoothed(losses: Sequence[float]) -> list[float]:
    """The mean of each loss and those around it, as many on either side, so that nothing is shifted."""
    found = []
    for n in range(len(losses)):
        reach = min(SMOOTHING, n, len(losses) - 1 - n)
        found.append(statistics.fmean(losses[n - reach : n + reach + 1]))
    return found


def suggestion(factors: Sequence[float], losses: Sequence[float]) -> float | None:
    """The factor at which the smoothed loss falls fastest over the factor's logarithm, before its lowest point.

    None where it never falls, or where there are too few losses to say.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) < LEAST:
        return None
    curve = torch.tensor(smoothed(finite), dtype=torch.float64)[: len(factors)]
    scale = torch.tensor(factors[: len(curve)], dtype=torch.float64).log()
    (slopes,) = torch.gradient(curve, spacing=(scale,))
    slopes = slopes[: int(curve.argmin()) + 1]
    steepest = int(slopes.argmin())
    return factors[steepest] if slopes[steepest] < 0 else None
