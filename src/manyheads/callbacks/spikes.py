"""Optimizer steps that are not taken, since their gradients are far larger than those before, or not finite."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.text import Text
from torch import Tensor

from manyheads.callbacks.step import as_lm
from manyheads.errors import UserError

WINDOW = 100
"""Steps that the median is taken over, and that may be skipped in a row."""
LEAST = 20
"""Steps before the first one is judged by a median."""


class SkipSpikes(pl.Callback):
    """Leaves out a step whose gradient norm is above `factor` times the median of the last 100, or is not finite.

    The weights, the optimizer's state and its own count of steps stay as they are; schedule and data go on. Norms that
    are finite count for the median also where the step is skipped, so that a lasting change is borne after half a
    window. The norm is that of the reduced gradients, before clipping, so all ranks decide alike; reading it waits for
    the device at each step. Lightning's SpikeDetection judges the loss, and ends the run.
    """

    def __init__(self, *, console: Console, factor: float) -> None:
        self.console = console
        self.factor = factor
        self.skipped = 0  # in the whole run
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._in_a_row = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Has each step's gradient norm judged before the step."""
        as_lm(pl_module).accepts_gradients = self.accepts

    def accepts(self, norm: Tensor) -> bool:
        """Whether the step with this gradient norm, [], is taken. Raises UserError after a window without a step."""
        size = float(norm)
        taken = math.isfinite(size) and size <= self._limit()
        if math.isfinite(size):
            self._norms.append(size)
        self._in_a_row = 0 if taken else self._in_a_row + 1
        self.skipped += not taken
        if self._in_a_row == WINDOW:
            raise UserError(
                f"callbacks.skip_spikes={self.factor}: {WINDOW} steps in a row were skipped (the last gradient norm was "
                f"{size:.3g}), so nothing is learned any more.\nTry a smaller optim.lr or a longer warm-up."
            )
        return taken

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says how many steps were skipped."""
        if self.skipped and trainer.is_global_zero:
            text = (
                f"{self.skipped:,} of {trainer.global_step:,} steps were skipped: their gradient norm was above "
                f"{self.factor:g} times the median, or not finite."
            )
            self.console.print(Text(text), soft_wrap=not self.console.is_terminal)

    def state_dict(self) -> dict[str, Any]:
        """The norms in the window and the counts."""
        return {"norms": list(self._norms), "skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the norms and counts of a checkpoint."""
        self._norms = deque(state_dict["norms"], maxlen=WINDOW)
        self.skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def _limit(self) -> float:
        if len(self._norms) < LEAST:
            return math.inf
        median = statistics.median(self._norms)
        return self.factor * median if median else math.inf
