"""Guards a page of losses by place that is not of the scores beside it."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("carry", ["false", "true"])
def test_the_stretches_add_up_to_the_scores(carry: str, tiny: list[str], cli: Callable[..., Any]) -> None:
    done = cli(
        "train", *tiny, "task.by_place=true", f"++task.carry={carry}", "model=linear_attention", "task.seq_len=24",
        "trainer.max_steps=2",
    )  # fmt: skip
    assert done.code == 0, done.err
    page = done.folder / "predictions" / "by_place.html"
    assert "bits per byte" in page.read_text(encoding="utf-8")
    with page.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    nats = sum(float(row["nats_per_token"]) * int(row["labels"]) for row in rows)
    test = done.results["test"]
    assert nats / math.log(2) / sum(int(row["bytes"]) for row in rows) == pytest.approx(test["bits_per_byte"], rel=1e-6)
    assert nats / sum(int(row["labels"]) for row in rows) == pytest.approx(test["loss"], rel=1e-6)
    # a row of 24 tokens has no place beyond; a text that is read on has
    assert (max(int(row["first"]) for row in rows) > 24) == (carry == "true")
