from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from omegaconf import OmegaConf
from rich.console import Console

from manyheads.build import CONF_DIR
from manyheads.callbacks.averaging import Averaging
from manyheads.callbacks.build import STEP_HOOKS, callbacks
from manyheads.callbacks.metrics_log import MetricsLog
from manyheads.callbacks.nonfinite import StopWhenNotFinite
from manyheads.callbacks.spikes import SkipSpikes
from manyheads.errors import UserError, written
from manyheads.task.base import Shown


class Task:
    tokenizer: Any = None
    monitor = "val/loss"

    def prompts(self, n: int) -> list[Shown]:
        return [Shown("a", [0])] * n


class Accuracy:
    name = "accuracy"
    higher_is_better = True


def make(metrics: list[Any], folder: Path = Path("run"), **settings: Any) -> list[Any]:
    return callbacks(folder=folder, metrics=metrics, task=Task(), console=Console(), seed=0, **settings)


def names(made: list[Any]) -> list[str]:
    return [type(each).__name__ for each in made]


def test_saving_comes_after_deciding_and_leaving_after_saving(metrics: list[Any]) -> None:
    # guards: an order in which early stopping's state misses the checkpoint, or a signal misses the save
    made = make(metrics, patience=2)
    assert names(made) == [
        *(
            "Throughput",
            "RngState",
            "LaneStatesKept",
            "StopWhenNotFinite",
            "MetricsLog",
            "Progress",
            "Samples",
            "Averaging",
            "StopEarly",
        ),
        *("RunCheckpoint", "Interrupt"),
    ]


def test_hooks_of_a_step_are_called_where_there_is_something_to_do(metrics: list[Any]) -> None:
    """Guards: a hook that a callback has, and that Lightning is told to pass over; and some fifty empty calls a step."""
    made = make(metrics, patience=2, skip_spikes=3.0, norms_every_n_steps=5, system=True)
    for callback in made:
        own = {
            hook
            for hook in STEP_HOOKS
            if any(hook in vars(kind) for kind in type(callback).__mro__[:-1] if kind is not pl.Callback)
        }
        assert {hook for hook in STEP_HOOKS if callable(getattr(callback, hook))} == own
    assert sum(callable(getattr(callback, hook)) for callback in made for hook in STEP_HOOKS) < 20


def test_what_is_switched_off_is_not_there(metrics: list[Any]) -> None:
    made = names(make(metrics, samples=0))
    assert "Samples" not in made
    assert "StopEarly" not in made


def test_what_is_asked_for_logs_after_the_rows_of_training(metrics: list[Any]) -> None:
    made = names(make(metrics, norms_every_n_steps=5, system=True))
    assert made[4:7] == ["MetricsLog", "LayerNorms", "SystemMetrics"]


def test_system_figures_without_psutil_say_what_to_install(metrics: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(UserError, match=r"^callbacks.system=true needs the package psutil, .*: pip install psutil$"):
        make(metrics, system=True)


def test_directions_follow_from_the_metric(metrics: list[Any], tmp_path: Path) -> None:
    # guards: a mode of checkpoints or early stopping of its own
    for monitor, up in [("val/accuracy", True), ("val/loss", False)]:
        made = make([*metrics, Accuracy], monitor=monitor, folder=tmp_path, patience=3)
        assert made[-2].higher_is_better is up
        assert made[-3].mode == ("max" if up else "min")
        assert made[-2].folder == tmp_path / "checkpoints"


def test_a_monitor_that_is_not_measured_is_refused(metrics: list[Any]) -> None:
    with pytest.raises(UserError) as caught:
        make(metrics, monitor="val/bits_per_bite")
    assert str(caught.value) == (
        "callbacks.monitor=val/bits_per_bite is not measured; set one of val/loss, val/bits_per_byte."
        " Did you mean 'val/bits_per_byte'?"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("save_best", 0),
        ("save_every_n_steps", 0),
        ("save_every_n_steps", 1.5),
        ("keep", 0),
        ("patience", 0),
        ("min_delta", -0.1),
        ("samples", -1),
        ("samples", True),
        ("sample_tokens", 0),
        ("sample_temperature", -1),
        ("norms_every_n_steps", 0),
        ("refresh_per_second", 0),
        ("refresh_per_second", "often"),
    ],
)
def test_values_out_of_range_name_their_key(metrics: list[Any], key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^callbacks\.{key}={written(value)}: set a"):
        make(metrics, **{key: value})


def test_every_yaml_fits_the_signature() -> None:
    files = sorted((CONF_DIR / "callbacks").glob("*.yaml"))
    assert [file.stem for file in files] == ["default"]
    parameters = inspect.signature(callbacks).parameters
    for file in files:
        settings = dict(OmegaConf.load(file))
        assert settings.pop("_target_") == "manyheads.callbacks.build.callbacks"
        assert set(settings) <= set(parameters)


def test_averaging_and_skipping_are_built_as_asked(metrics: list[Any]) -> None:
    # guards: keys that stop at the builder
    averaging = next(each for each in make(metrics, averaging="swa") if isinstance(each, Averaging))
    assert averaging.running is not None
    assert (averaging.running.kind, averaging.running.start) == ("swa", 0.75)
    ema = next(
        each
        for each in make(metrics, averaging="ema", ema_decay=0.5, averaging_start=0.25)
        if isinstance(each, Averaging)
    ).running
    assert ema is not None
    assert (ema.kind, ema.decay, ema.start) == ("ema", 0.5, 0.25)
    made = make(metrics, skip_spikes=5)
    spikes = next(each for each in made if isinstance(each, SkipSpikes))
    assert spikes.factor == 5
    assert next(each for each in made if isinstance(each, MetricsLog)).spikes is spikes
    assert not next(each for each in made if isinstance(each, StopWhenNotFinite)).losses


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"averaging": "sma"}, "callbacks.averaging=sma is not one of ema, swa."),
        ({"averaging": "ema", "ema_decay": 1.5}, "callbacks.ema_decay=1.5: set a number from 0 to 1."),
        ({"averaging": "swa", "averaging_start": 2}, "callbacks.averaging_start=2: set a number from 0 to 1."),
        (
            {"averaging_start": 0.5},
            "callbacks.averaging_start=0.5 and callbacks.averaging=null: nothing is averaged. "
            "Set callbacks.averaging=ema or swa.",
        ),
        (
            {"skip_spikes": 0.5},
            "callbacks.skip_spikes=0.5: set a number of at least 1. "
            "It is how many times the median a gradient norm may be.",
        ),
    ],
)
def test_a_wrong_setting_of_averaging_or_skipping_is_the_users_mistake(
    metrics: list[Any], settings: dict[str, Any], text: str
) -> None:
    # guards: a setting that does nothing, or that stops the run much later
    with pytest.raises(UserError) as error:
        make(metrics, **settings)
    assert text in str(error.value)
