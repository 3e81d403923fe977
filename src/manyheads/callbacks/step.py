"""Where a training batch stands in its optimizer step, and the module as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

if TYPE_CHECKING:
    from manyheads.lm import LM


def step_is_done(trainer: pl.Trainer) -> bool:
    """Whether the batch that just ended was the last of its optimizer step, so that no gradients are pending."""
    return not trainer.fit_loop._should_accumulate()


def training_is_over(trainer: pl.Trainer) -> bool:
    """Whether the batch that just ended was the run's last; a validation may still follow."""
    return trainer.should_stop or trainer.fit_loop.epoch_loop.global_step == trainer.max_steps


def validation_is_due(trainer: pl.Trainer) -> bool:
    """Whether a validation follows on the batch that just ended."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def is_fitting(trainer: pl.Trainer) -> bool:
    """Whether the trainer fits; a validation inside `fit` counts."""
    return trainer.state.fn == TrainerFn.FITTING


def as_lm(module: pl.LightningModule) -> LM:
    """The module, typed: these callbacks only ever run with a language model."""
    return cast("LM", module)


def log_is_due(trainer: pl.Trainer) -> bool:
    """Whether a row of the metrics log is due after this optimizer step."""
    every = cast(Any, trainer).log_every_n_steps  # Lightning sets it from outside the class
    return trainer.global_step % every == 0
