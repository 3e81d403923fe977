"""How fast training goes: real tokens per second of training."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from manyheads.callbacks.step import as_lm


class Throughput(pl.Callback):
    """Counts the seconds that training takes, without validation and what is done at its end (samples, checkpoints).

    Tokens are the labels that are learned from, padding apart, over all ranks.
    """

    def __init__(self) -> None:
        self._active = 0.0  # seconds up to the last pause
        self._since: float | None = None  # when the clock was started; None while it stands
        self._lap = (0.0, 0)  # seconds and tokens at the last lap

    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._active + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def lap(self, tokens: int) -> float | None:
        """Tokens per second since the last lap, given the tokens seen so far; None where no time has passed."""
        before, self._lap = self._lap, (self.seconds(), tokens)
        seconds, new = self._lap[0] - before[0], self._lap[1] - before[1]
        return new / seconds if seconds > 0 and new > 0 else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts both clocks anew."""
        self._active, self._since = 0.0, time.perf_counter()
        self._lap = (0.0, as_lm(pl_module).tokens_seen)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Starts the clock again after a pause."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock: validations are no training."""
        self._pause()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock."""
        self._pause()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stops the clock."""
        self._pause()

    def _pause(self) -> None:
        self._active, self._since = self.seconds(), None
