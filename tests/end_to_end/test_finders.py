"""Guards what the finders print, on a real run: how they find it is tested with the callbacks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import pytest
import torch


def test_debug_find_lr_says_what_to_set_and_keeps_the_curve(cli: Callable[..., Any], tiny: list[str]) -> None:
    # guards: one rate for all groups: muon's two stay as 4 to 1; and weights that the trial has spoilt
    words = [word for word in tiny if not word.startswith("trainer.")]
    done = cli("train", *words, "debug=find_lr", "trainer.max_steps=40")
    assert done.code == 0, done.err
    line = next(line for line in done.out.splitlines() if line.startswith("find_lr: "))
    found = dict(word.split("=") for word in line.split() if word.startswith("optim."))
    assert float(found["optim.lr"]) / float(found["optim.adamw_lr"]) == pytest.approx(4.0, rel=0.1)
    assert 0.02e-3 < float(found["optim.lr"]) < 2
    with (done.folder / "lr_finder.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert list(rows[0]) == ["optim.lr", "optim.adamw_lr", "loss", "smoothed_loss"]
    assert rows[0]["optim.lr"] == pytest.approx(0.02e-3, rel=1e-9)
    assert rows[1]["optim.lr"] / rows[0]["optim.lr"] == pytest.approx(1e5 ** (1 / 40), rel=1e-9)
    logged = [row for row in done.metrics if "train/loss" in row]
    assert [row["loss"] for row in rows] == pytest.approx([row["train/loss"] for row in logged], rel=1e-9)
    fresh = cli(
        "train", *words, "trainer.max_steps=1", "trainer.limit_val_batches=1", "++optim.lr=0", "++optim.adamw_lr=0"
    )
    weights = [
        torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (done, fresh)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
def test_a_loss_that_is_not_each_steps_is_refused(cli: Callable[..., Any], tiny: list[str]) -> None:
    # guards: a curve of steps in tens
    done = cli("train", *tiny, "callbacks.find_lr=true")
    assert done.code == 1
    assert "callbacks.find_lr=true looks at the loss of each step. Set trainer.log_every_n_steps=1." in done.err


def test_debug_find_batch_size_says_what_to_set(cli: Callable[..., Any], tiny: list[str]) -> None:
    # guards: a pass that the real network, precision and batch do not go through
    words = [word for word in tiny if not word.startswith("trainer.")]
    done = cli("train", *words, "debug=find_batch_size", "trainer.accumulate_grad_batches=2")
    assert done.code == 0, done.err
    line = next(line for line in done.out.splitlines() if line.startswith("find_batch_size: "))
    size, accumulation = (int(word.split("=")[1]) for word in line.split() if "=" in word)
    assert size * accumulation == 8
