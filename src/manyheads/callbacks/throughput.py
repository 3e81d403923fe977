"""How fast training goes: real tokens per second of training."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from manyheads.callbacks.step import as_lm, step_is_done


class Throughput(pl.Callback):
    """Counts the seconds that training takes, without validation and what is done at its end (samples, checkpoints).

    Tokens are the labels that are learned from, padding apart, over all ranks. The first optimizer step, in which
    kernels are chosen or compiled, is left out of `mean_rate`.
    """

    def __init__(self) -> None:
        self._active = 0.0  # seconds up to the last pause
        self._since: float | None = None  # when the clock was started; None while it stands
        self._lap = (0.0, 0)  # seconds and tokens at the last lap
        self._warm: tuple[float, int] | None = None  # seconds and tokens after the first step

    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._active + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def lap(self, tokens: int) -> float | None:
        """Tokens per second since the last lap, given the tokens seen so far; None where no time has passed."""
        before, self._lap = self._lap, (self.seconds(), tokens)
        return _rate(before, self._lap)

    @property
    def mean_rate(self) -> float | None:
        """Tokens per second from the end of the first step of this process to the last lap; None before that lap."""
        return None if self._warm is None else _rate(self._warm, self._lap)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._active, self._warm, self._since = 0.0, None, time.perf_counter()
        self._lap = (0.0, as_lm(pl_module).tokens_seen)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # the count waits for the device, so it is read once here and else at laps only
        if self._warm is None and step_is_done(trainer):
            tokens = as_lm(pl_module).tokens_seen
            self._warm = (self.seconds(), tokens)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._pause()

    def _pause(self) -> None:
        self._active, self._since = self.seconds(), None


def _rate(start: tuple[float, int], end: tuple[float, int]) -> float | None:
    seconds, tokens = end[0] - start[0], end[1] - start[1]
    return tokens / seconds if seconds > 0 and tokens > 0 else None
