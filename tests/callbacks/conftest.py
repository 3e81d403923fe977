"""A module with the members that callbacks use of a language model, scripted to the last number, and a real Trainer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from manyheads.callbacks.checkpoint_io import AtomicCheckpointIO


class Rows(Logger):
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.saves = 0

    @property
    def name(self) -> str:
        return "rows"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def save(self) -> None:
        self.saves += 1


class Totals:
    def __init__(self) -> None:
        self.loss, self.count = 0.0, 0.0

    def take(self) -> tuple[float, float]:
        taken, self.loss, self.count = (self.loss, self.count), 0.0, 0.0
        return taken


class TinyLM(pl.LightningModule):
    """Batch i, from 0, has i + 1 labels with a summed loss of 10 * (i + 1) ** 2; validations score `scores` in turn."""

    def __init__(
        self,
        *,
        scores: Sequence[float] = (),
        total: float = float("inf"),
        on_step: Callable[[int], None] | None = None,
        on_val_batch: Callable[[int], None] | None = None,
        loss: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.head = nn.Linear(3, 3), nn.Identity()
        self.scores, self.total, self.loss = list(scores), total, loss
        self.on_step, self.on_val_batch = on_step, on_val_batch
        self.train_totals, self.tokens_seen, self.last_grad_norm = Totals(), 0, None
        self.train_terms: dict[str, Totals] = {}
        self.pending = 0
        self.draws: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        n = batch_idx + 1
        self.train_totals.loss += 10.0 * n * n
        self.train_totals.count += n
        self.pending += n
        self.draws.append(float(torch.rand(())))
        if self.on_step:
            self.on_step(batch_idx)
        noisy = nn.functional.dropout(self.network(batch), 0.5)
        return noisy.square().sum() * (self.loss(batch_idx) if self.loss else 1.0)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.tokens_seen, self.pending = self.tokens_seen + self.pending, 0
        self.last_grad_norm = torch.tensor(0.5)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if self.on_val_batch:
            self.on_val_batch(batch_idx)

    def on_validation_epoch_end(self) -> None:
        score = self.scores.pop(0) if self.scores else 1.0
        self.log("val/bits_per_byte", score, logger=False)
        self.log("val/loss", 2 * score, logger=False)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        # step k, from 1, is made with 0.5 / k
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def total_steps(self) -> float:
        return self.total

    def progress(self) -> float:
        return min(1.0, self.trainer.global_step / self.trainer.max_steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tokens_seen"] = self.tokens_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.tokens_seen = checkpoint["tokens_seen"]


class Score:
    """A metric class as far as the list of callbacks looks."""

    name = "bits_per_byte"
    higher_is_better = False


class Loss(Score):
    name = "loss"


def loader(num_batches: int) -> DataLoader:
    # rows are alike, so that a loader that cannot be resumed gives what it would have given
    return DataLoader(torch.ones(num_batches, 3), batch_size=1)  # type: ignore[arg-type]


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """Trains a TinyLM with these callbacks: 20 batches an epoch, 2 batches a validation."""

    def run(
        lm: TinyLM,
        callbacks: list[pl.Callback],
        *,
        logger: Rows | None = None,
        resume: Path | None = None,
        batches: int = 20,
        test: bool = False,
        **options: Any,
    ) -> pl.Trainer:
        trainer = pl.Trainer(
            accelerator="cpu",
            callbacks=callbacks,
            logger=logger or False,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            **options,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if test:
                trainer.test(lm, loader(2), verbose=False)
            else:
                trainer.fit(lm, loader(batches), loader(2), ckpt_path=resume, weights_only=True)
        return trainer

    return run


@pytest.fixture
def tiny() -> type[TinyLM]:
    return TinyLM


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def metrics() -> list[type]:
    return [Loss, Score]
