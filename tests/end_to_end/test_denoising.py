"""Denoising through the front door, with each kind of network that can do it: train, score again, resume."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.lm import LM

SHAPES = {
    "encoder_decoder": ["model=encoder_decoder", "model.num_encoder_layers=1"],
    "tiny": ["model=tiny"],
}


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets a signal come while the given optimizer step is made, once."""
    plain, due = LM.training_step, set[int]()

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        step = self.trainer.global_step + 1
        if step in due:
            due.remove(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", training_step)
    return due.add


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "objective"), [("encoder_decoder", "t5"), ("tiny", "t5"), ("encoder_decoder", "bart")]
)
def test_a_run_is_scored_as_it_was_and_goes_on(
    model: str, objective: str, tiny: list[str], cli: Callable[..., Any], stop: Callable[[int], None]
) -> None:
    words = [*tiny, "task=denoising", *SHAPES[model], "model.dim=16", "model.num_layers=1", "model.num_heads=2",
             f"task.objective={objective}"]  # fmt: skip
    whole = cli("train", *words)
    assert whole.code == 0, whole.err
    assert set(whole.results["val"]) == {"loss", "perplexity", "accuracy"}
    scored = cli("eval", f"run={whole.folder}", "++task.eval_batch_size=5", "to=figures.json")
    assert scored.code == 0, scored.err
    figures = json.loads(Path("figures.json").read_text())
    assert figures["test"] == pytest.approx(whole.results["test"], rel=1e-5)
    stop(4)
    first = cli("train", *words)
    assert first.code == 143
    resumed = cli("train", f"resume={first.folder}")
    assert resumed.code == 0, resumed.err
    one, other = (
        torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (whole, first)
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_encoder_alone_cannot_write(tiny: list[str], cli: Callable[..., Any]) -> None:
    done = cli("train", *tiny, "task=denoising", "model=encoder")
    assert done.code != 0
    assert (
        "model=encoder is bidirectional, and head=next_token needs causal or counting or encoder-decoder:"
        in " ".join(done.err.split())
    )
