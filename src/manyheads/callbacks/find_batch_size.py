"""A batch size for this run's model, data and device, found by trying."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor

from manyheads.batch import IGNORE, Batch
from manyheads.callbacks.step import as_lm
from manyheads.errors import is_out_of_memory

REPEATS = 3  # of which the fastest counts; one more comes before, to choose kernels
GAIN = 1.05  # a doubling that brings less is the last


class FindBatchSize(pl.Callback):
    """Before the first step, runs the training pass on ever larger batches, and says which size to set.

    The sizes double up to `task.batch_size` times `trainer.accumulate_grad_batches` and all divide it, so that with the
    accumulation that is told, an optimizer step is over as many rows as now and learning stays as it is. Doubling ends
    when the memory does, or when a token takes no less time. The rows are those of the first batch, over and over.
    Lightning's BatchSizeFinder looks for what fits, not for what is fast, and lets the global batch grow.
    """

    def __init__(self, *, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self.console = console
        self.clock = clock
        self._done = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Tries sizes with the rows of the first batch, and says which one to set; once."""
        if self._done:
            return
        self._done = True
        rows = len(batch["input_ids"])
        together = rows * trainer.accumulate_grad_batches
        speeds: dict[int, float] = {}
        for size in sizes(together):
            speed = trainer.strategy.broadcast(self._speed(trainer, pl_module, repeated(batch, size)))
            if speed is None:
                self._tell(trainer, f"{size} rows: more memory than there is")
                break
            self._tell(trainer, f"{size} rows: {speed:,.0f} tokens/s")
            speeds[size] = speed
            if size // 2 in speeds and speed < GAIN * speeds[size // 2]:
                break
        if not speeds:
            self._tell(trainer, "find_batch_size: no batch fits. Set a smaller task.seq_len or model.")
            return
        best = max(speeds, key=lambda size: speeds[size])
        found = f"task.batch_size={best} trainer.accumulate_grad_batches={together // best}"
        self._tell(trainer, f"find_batch_size: fastest is {found}", style="bold")

    def _speed(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch) -> float | None:
        """Label tokens per second of forward and backward; None when the memory does not suffice."""
        learned, seconds = int((batch["labels"] != IGNORE).sum()), []
        try:
            for _ in range(1 + REPEATS):
                before = self.clock()
                with trainer.precision_plugin.train_step_context():
                    loss = as_lm(pl_module).objective(batch).total
                loss.backward()
                if loss.device.type != "cpu":
                    torch.accelerator.synchronize()
                seconds.append(self.clock() - before)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            pl_module.zero_grad(set_to_none=True)
        return learned / min(seconds[1:])

    def _tell(self, trainer: pl.Trainer, text: str, style: str = "") -> None:
        if trainer.is_global_zero:
            self.console.print(Text(text, style=style), soft_wrap=True)


def sizes(together: int) -> list[int]:
    """The divisors of `together` that come of halving it, smallest first."""
    found = [together]
    while found[0] % 2 == 0:
        found.insert(0, found[0] // 2)
    return found


def repeated(batch: Batch, size: int) -> Batch:
    """A batch of `size` rows, those of `batch` in turn."""
    rows = len(batch["input_ids"])
    turn = torch.arange(size, device=batch["input_ids"].device) % rows

    def taken(value: Any) -> Any:
        return value[turn] if isinstance(value, Tensor) and value.ndim and len(value) == rows else value

    return cast(Batch, {name: taken(value) for name, value in batch.items()})
