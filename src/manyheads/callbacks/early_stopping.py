"""Stopping when validation no longer improves, and saying so."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from rich.console import Console
from rich.text import Text


class StopEarly(EarlyStopping):
    """Lightning's early stopping, counted in validations, with one line on the run's own console when it stops.

    Args:
        monitor: name of the metric in `trainer.callback_metrics`.
        higher_is_better: its direction.
        patience: validations without an improvement that are borne.
        min_delta: what counts as an improvement: more than this.
    """

    def __init__(
        self, *, console: Console, monitor: str, higher_is_better: bool, patience: int, min_delta: float = 0.0
    ) -> None:
        super().__init__(
            monitor=monitor,
            mode="max" if higher_is_better else "min",
            patience=patience,
            min_delta=min_delta,
            check_finite=False,
            check_on_train_epoch_end=False,
        )
        self.console = console

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops when it is time, and says why."""
        stopping = trainer.should_stop
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop and not stopping and trainer.is_global_zero:
            text = f"{self.monitor} has not improved for {self.wait_count} validations: training stops early."
            self.console.print(Text(text), soft_wrap=not self.console.is_terminal)
