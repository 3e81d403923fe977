from __future__ import annotations

import csv
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from manyheads.callbacks.find_lr import factor_at, smoothed, suggestion


def test_the_range_is_exponential() -> None:
    # guards: equal differences in the place of equal ratios
    assert [factor_at(n / 5) for n in range(6)] == pytest.approx([1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0], rel=1e-12)


def test_smoothing_shifts_nothing() -> None:
    # guards: an average that lags, and so suggests a rate that is too large: a line stays that line
    assert smoothed([float(n) for n in range(20)]) == pytest.approx([float(n) for n in range(20)])
    assert smoothed([0.0, 0.0, 9.0, 0.0, 0.0]) == pytest.approx([0.0, 3.0, 9 / 5, 3.0, 0.0])


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    # guards: a slope over the step in the place of the factor, and the end of the fall for its middle: a logistic fall
    # is steepest in its middle, at step 40; after it the loss rises far more steeply and falls again
    factors = [factor_at(n / 100) for n in range(100)]
    losses = [5 - 2 / (1 + math.exp(-(n - 40) / 4)) + (0.5 * (n - 70) if n > 70 else 0) for n in range(99)]
    assert suggestion(factors, [*losses, 3.5]) == factors[40]
    assert suggestion(factors, [*losses[:80], math.nan]) == factors[40]


def test_no_suggestion_where_the_loss_does_not_fall() -> None:
    # guards: a number out of nothing
    factors = [factor_at(n / 50) for n in range(50)]
    assert suggestion(factors, [1.0 + n for n in range(50)]) is None
    assert suggestion(factors[:5], [5.0, 4.0, 3.0, 2.0, 1.0]) is None


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


def test_a_loss_that_is_not_each_steps_is_refused(cli: Callable[..., Any], tiny: list[str]) -> None:
    # guards: a curve of steps in tens
    done = cli("train", *tiny, "callbacks.find_lr=true")
    assert done.code == 1
    assert "callbacks.find_lr=true looks at the loss of each step. Set trainer.log_every_n_steps=1." in done.err
