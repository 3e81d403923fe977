"""What the machine does while it trains, in every logger: processor, memory, GPU."""

from __future__ import annotations

import importlib.util
from typing import Any

import psutil
import pytorch_lightning as pl
import torch

from manyheads.callbacks.metrics_log import write_row
from manyheads.callbacks.step import as_lm, log_is_due, step_is_done


class SystemMetrics(pl.Callback):
    """Logs `system/...` with each row of training. Not Lightning's DeviceStatsMonitor, which logs some seventy counters of
    the allocator twice a batch, and on a CPU those of the machine alone.

    `cpu_percent` is this process's share of one core since the last row, so 200 is two cores; `cpu_all_percent` is the
    machine's, of all cores. `memory_bytes` is what the process holds in memory, `memory_all_percent` what of the machine's
    is in use. Of a GPU: `gpu_memory_bytes` that tensors take, `gpu_percent` of the time in which it was busy, as its
    driver says, where nvidia-ml-py is installed.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the measurements, which are over the time since the last one."""
        self._process.cpu_percent()  # both measure from the last call on
        psutil.cpu_percent()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures and logs with each row of training."""
        if step_is_done(trainer) and (trainer.global_step == 1 or log_is_due(trainer)):
            measured = {**self._of_the_host(), **of_the_gpu(pl_module.device)}
            write_row(trainer, {"train/tokens": as_lm(pl_module).tokens_seen, **measured})

    def _of_the_host(self) -> dict[str, float]:
        return {
            "system/cpu_percent": self._process.cpu_percent(),
            "system/cpu_all_percent": psutil.cpu_percent(),
            "system/memory_bytes": float(self._process.memory_info().rss),
            "system/memory_all_percent": psutil.virtual_memory().percent,
        }


def of_the_gpu(device: torch.device) -> dict[str, float]:
    """The figures of a GPU; none of another device."""
    if device.type != "cuda":
        return {}
    figures = {"system/gpu_memory_bytes": float(torch.cuda.memory_allocated(device))}
    if importlib.util.find_spec("pynvml") is not None:
        figures["system/gpu_percent"] = float(torch.cuda.utilization(device))
    return figures
