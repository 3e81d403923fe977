"""A trace of a few training batches, for chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile


class Trace(pl.Callback):
    """Records `batches` training batches, after `wait` that warm up, with every operation on the CPU and the GPU.

    Validation is left out. Less is recorded when training ends earlier; nothing when it ends within the warm-up.

    Args:
        path: the file to write, JSON in Chrome's trace format; its folder is made.
    """

    def __init__(self, path: Path, *, wait: int = 1, batches: int = 4) -> None:
        self.path = path
        self.wait = wait
        self.batches = batches
        self._seen = 0
        self._profile: profile | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Starts the profiler after the batches that are waited for."""
        if trainer.is_global_zero and self._seen == self.wait:
            os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # its own lines would stand among ours
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profile = profile(activities=kinds, acc_events=True)
            self._profile.start()
        self._seen += 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the trace after the last of its batches."""
        if self._seen == self.wait + self.batches:
            self._write()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes what there is: a validation is not traced."""
        self._write()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes what there is."""
        self._write()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Writes what there is."""
        self._write()

    def _write(self) -> None:
        if self._profile is None:
            return
        recorded, self._profile = self._profile, None
        recorded.stop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self.path))
