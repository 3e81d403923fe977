from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.checkpoint_io import read_checkpoint
from manyheads.callbacks.nonfinite import StopWhenNotFinite
from manyheads.errors import UserError


def make(folder: Path, every_step: bool | None = None, **options: Any) -> list[Any]:
    saver = RunCheckpoint(folder=folder, monitor="val/loss", higher_is_better=False, **options)
    return [StopWhenNotFinite(saver, every_step), saver]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_run_stops_at_the_step_and_the_last_good_checkpoint_stays(
    fit: Any, tiny: Any, tmp_path: Path, bad: float
) -> None:
    callbacks = make(tmp_path, save_every_n_steps=2)
    with pytest.raises(UserError) as caught:
        fit(tiny(loss=lambda i: bad if i == 4 else 1.0), callbacks, max_steps=9, limit_val_batches=0)
    last = tmp_path / "last.ckpt"
    assert str(caught.value).splitlines() == [
        f"At step 5 the loss is not finite; training stopped. {last} is whole and from before that.",
        "Try a smaller optim.lr (it was 0.0833 at that step), a longer optim.warmup_steps, "
        "or a smaller trainer.gradient_clip_val.",
    ]
    assert read_checkpoint(last)["global_step"] == 4


def test_a_micro_batch_in_the_middle_of_a_step_counts_for_that_step(fit: Any, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"At step 2 the loss is not finite.*No checkpoint had been saved yet"):
        fit(
            tiny(loss=lambda i: float("nan") if i == 4 else 1.0),
            make(tmp_path),
            max_steps=5,
            accumulate_grad_batches=4,
            limit_val_batches=0,
        )


@pytest.mark.parametrize("options", [{"log_every_n_steps": 4}, {"log_every_n_steps": 99, "val_check_interval": 5}])
def test_a_device_that_is_not_waited_for_still_names_the_first_bad_step(
    fit: Any, tiny: Any, tmp_path: Path, options: dict[str, int]
) -> None:
    # guards: the step of the check in place of the step of the loss, and diverged weights in last.ckpt
    callbacks = make(tmp_path, every_step=False)
    with pytest.raises(UserError, match="At step 3 the loss is not finite"):
        fit(tiny(loss=lambda i: float("nan") if i >= 2 else 1.0), callbacks, max_steps=9, **options)
    assert not (tmp_path / "last.ckpt").exists()


def test_weights_that_overflowed_under_a_finite_loss_are_never_saved(fit: Any, tiny: Any, tmp_path: Path) -> None:
    def spoil(batch: int) -> None:
        if batch == 4:
            lm.network.bias.grad = torch.full((3,), float("inf"))

    class Spoiled(tiny):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            super().on_before_optimizer_step(optimizer)
            spoil(self.trainer.global_step)

    lm = Spoiled()
    callbacks = make(tmp_path, every_step=False, save_every_n_steps=1)
    with pytest.raises(UserError, match="At step 5 the network's weights are not finite"):
        fit(lm, callbacks, max_steps=9, limit_val_batches=0)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4


def test_weights_that_overflowed_are_told_before_they_are_scored(fit: Any, tiny: Any, tmp_path: Path) -> None:
    """Guards a validation of dead weights, whose sample text would complain first and in other words."""

    class Spoiled(tiny):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            super().on_before_optimizer_step(optimizer)
            self.network.bias.grad = torch.full((3,), float("nan"))

        def on_validation_epoch_start(self) -> None:
            raise AssertionError("dead weights were scored")

    with pytest.raises(UserError, match=r"At step 1 the network's weights are not finite(.|\n)*smaller optim\.lr"):
        fit(Spoiled(), make(tmp_path), max_steps=3, val_check_interval=1)


def test_a_validation_loss_that_is_not_finite_is_told(fit: Any, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="At step 2 the validation loss is not finite"):
        fit(tiny(scores=[1.0, float("inf")]), make(tmp_path), max_steps=6, val_check_interval=1)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 1
