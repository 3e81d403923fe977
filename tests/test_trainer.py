"""Guards: a step that means something else under accumulation, and devices or numbers found wrong after long work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from manyheads.errors import UserError
from manyheads.trainer import LIMITS, budget, check_devices, choose_precision, trainer


def make(folder: Path, **settings: Any) -> pl.Trainer:
    return trainer(folder=folder, **{"accelerator": "cpu", "devices": 1, "max_steps": 5, **settings})


def test_validation_comes_every_so_many_steps_whatever_the_accumulation(tmp_path: Path) -> None:
    """Lightning counts micro-batches there."""
    assert make(tmp_path, val_every_n_steps=10, accumulate_grad_batches=3).val_check_interval == 30


def test_a_limit_that_is_not_set_is_none_for_lightning(tmp_path: Path) -> None:
    """Lightning's own default for epochs is 1000 when no limit is named, and 1 step is not what max_steps=None means."""
    made = make(tmp_path, max_steps=None, max_epochs=None)
    assert (made.max_steps, made.max_epochs) == (-1, -1)


def test_lightning_writes_nothing_and_says_nothing_of_its_own(tmp_path: Path) -> None:
    made = make(tmp_path)
    kinds = {type(callback).__name__ for callback in made.callbacks}  # type: ignore[attr-defined]
    assert not kinds & {"ModelCheckpoint", "TQDMProgressBar", "RichProgressBar", "ModelSummary"}
    assert made.loggers == []
    assert made.num_sanity_val_steps == 0
    assert list(tmp_path.iterdir()) == []


def test_hooks_are_not_timed_but_can_be(tmp_path: Path) -> None:
    """Contexts around hooks are entered again and again, one within the other: the one that stands for all must allow it."""
    profiler = make(tmp_path).profiler  # type: ignore[attr-defined]
    with profiler.profile("outer") as outer, profiler.profile("inner") as inner:
        assert (outer, inner) == (None, None)
    profiler.start("x")
    profiler.stop("x")
    assert profiler.summary() == ""


def test_callbacks_stay_in_order(tmp_path: Path) -> None:
    callbacks = [pl.Callback(), pl.Callback(), pl.Callback()]
    made = make(tmp_path, callbacks=callbacks).callbacks  # type: ignore[attr-defined]
    assert [callback for callback in made if callback in callbacks] == callbacks


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("accumulate_grad_batches", 0, "trainer.accumulate_grad_batches=0: set a whole number of at least 1."),
        ("log_every_n_steps", 0, "trainer.log_every_n_steps=0: set a whole number of at least 1."),
        ("val_every_n_steps", 0, "trainer.val_every_n_steps=0: set a whole number of at least 1."),
        ("gradient_clip_val", -1.0, "trainer.gradient_clip_val=-1.0: set a number of at least 0."),
        ("precision", "16", "trainer.precision=16: a CPU does not do that. Set bf16-mixed, 32-true or auto."),
        ("devices", 0, "trainer.devices=0: set at least 1, or auto."),
        ("devices", -2, "trainer.devices=-2: set a number of at least -1."),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path: Path, setting: str, value: Any, text: str) -> None:
    with pytest.raises(UserError) as caught:
        make(tmp_path, **{setting: value})
    assert str(caught.value) == text


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, *, bf16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    with pytest.raises(UserError, match=r"trainer\.accelerator=gpu: no GPU is visible\. Set trainer=cpu"):
        check_devices("gpu", 1)
    check_devices("cpu", 8)
    check_devices("auto", "auto")


@pytest.mark.parametrize("devices", [3, [0, 1, 2]])
def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch, devices: Any) -> None:
    gpus(monkeypatch, 2)
    with pytest.raises(UserError, match=r": 2 GPU\(s\) are visible\. Set trainer\.devices=2 or less"):
        check_devices("cuda", devices)
    check_devices("cuda", 2)
    check_devices("cuda", -1)  # all


@pytest.mark.parametrize(
    ("count", "bf16", "accelerator", "expected"),
    [
        (0, True, "auto", "32-true"),
        (1, True, "auto", "bf16-mixed"),
        (1, True, "gpu", "bf16-mixed"),
        (1, False, "gpu", "32-true"),
        (1, True, "cpu", "32-true"),  # a run on the CPU of a machine with a GPU
    ],
)
def test_which_precision_auto_is(
    monkeypatch: pytest.MonkeyPatch, count: int, bf16: bool, accelerator: str, expected: str
) -> None:
    gpus(monkeypatch, count, bf16=bf16)
    assert choose_precision("auto", accelerator) == expected
    assert choose_precision("64-true", accelerator) == "64-true"


def test_the_budget_has_every_limit_of_the_yaml() -> None:
    """A limit that is left out here would be a run that does not stop."""
    settings = {"max_steps": 1, "max_epochs": 2, "max_minutes": 3.0, "max_tokens": 4, "devices": 1}
    made = budget(settings)
    assert [getattr(made, name) for name in LIMITS] == [1, 2, 3.0, 4]
    with pytest.raises(UserError, match="the run would never end"):
        budget({"devices": 1})
