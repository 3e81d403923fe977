"""Guards averaged weights from the command line to the export, and a run with skipped steps, also when they go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import manyheads
from manyheads.lm import LM

WAYS = {
    "ema": ["callbacks.averaging=ema", "callbacks.ema_decay=0.9"],
    "swa": ["callbacks.averaging=swa", "callbacks.averaging_start=0.3"],
    "schedule_free": ["optim=schedule_free"],
}
MORE = ["trainer.max_steps=9", "trainer.val_every_n_steps=4"]


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["schedule_free", *(pytest.param(way, marks=pytest.mark.slow) for way in ("ema", "swa"))]
)
def test_a_run_with_averaged_weights_stops_and_goes_on_to_the_bit(
    way: str, cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle is the run that was not stopped: scores, rows, averaged and trained weights."""
    words = [*tiny, *MORE, *WAYS[way]]
    whole = cli("train", *words)
    assert whole.code == 0, whole.err
    plain = LM.training_step

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 5 and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    sent: list[int] = []
    monkeypatch.setattr(LM, "training_step", training_step)
    stopped = cli("train", *words)
    assert stopped.code == 143
    resumed = cli("train", f"resume={stopped.folder}")
    assert resumed.code == 0, resumed.err
    ours, theirs = checkpoint(whole.folder), checkpoint(stopped.folder)
    for entry in ("state_dict", "trained_weights"):
        assert ours[entry].keys() == theirs[entry].keys()
        assert all(torch.equal(value, theirs[entry][name]) for name, value in ours[entry].items())
    name = (
        "network.embedding.weight"
        if "network.embedding.weight" in ours["state_dict"]
        else next(iter(ours["state_dict"]))
    )
    assert not torch.equal(ours["state_dict"][name], ours["trained_weights"][name])
    assert whole.results["test"] == stopped.results["test"]
    assert whole.results["val"] == stopped.results["val"]
    best = checkpoint(whole.folder, "best")["state_dict"]
    loaded = manyheads.load(whole.folder)
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, best[f"network.{key}"])
    assert load_file(whole.folder / "export" / "model.safetensors")
    rows = [row["val/loss"] for row in whole.metrics if "val/loss" in row]
    assert whole.results["val"]["loss"] == pytest.approx(min(rows), rel=1e-6)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_skipped_and_told(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a poisoned optimizer, and against a schedule or data that stand still: the run ends as usual."""
    plain = LM.training_step
    seen: list[list[torch.Tensor]] = []

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        seen.append([parameter.detach().clone() for parameter in self.parameters()])
        loss = plain(self, batch, batch_idx)
        return loss * float("nan") if self.trainer.global_step == 3 else loss

    monkeypatch.setattr(LM, "training_step", training_step)
    done = cli("train", *tiny, "callbacks.skip_spikes=10")
    assert done.code == 0, done.err
    assert "1 of 6 steps were skipped" in done.out
    assert [row["train/skipped_steps"] for row in done.metrics if "train/skipped_steps" in row] == [0, 0, 1, 1]
    assert all(torch.equal(one, other) for one, other in zip(seen[3], seen[4], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(seen[4], seen[5], strict=True))
    assert done.results["run"]["steps"] == 6
    seen.clear()
    assert cli("train", *tiny).code == 1


@pytest.mark.parametrize(
    "optim",
    [
        ["optim=lion", "optim.schedule=wsd", "optim.decay_fraction=0.5"],
        pytest.param(["optim=sgd", "optim.nesterov=true", "optim.schedule=one_cycle"], marks=pytest.mark.slow),
        pytest.param(
            ["optim=adamw", "optim.schedule=inverse_sqrt", "optim.warmup_steps=null", "optim.warmup_fraction=0.4"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_new_optimizer_and_schedule_trains_from_the_command_line(
    optim: list[str], cli: Callable[..., Any], tiny: list[str]
) -> None:
    """Guards against a yaml that does not build, and a fused or foreach step that training cannot call."""
    done = cli("train", *[word for word in tiny if "warmup" not in word or "adamw" not in optim[0]], *optim)
    assert done.code == 0, done.err
    assert done.results["run"]["steps"] == 6
