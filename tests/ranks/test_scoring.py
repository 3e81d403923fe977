"""Scores do not depend on how many ranks share a split: each label once, sums added, nothing averaged twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import run_main
from .conftest import ROOT, Ranked

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(300)]

EVAL = (str(ROOT / "eval.py"),)


@pytest.mark.parametrize(("precision", "tolerance"), [("32", 1e-6), ("64", 1e-10)])
def test_one_two_and_three_ranks_score_alike(
    precision: str,
    tolerance: float,
    tiny_trained: Any,
    ranked: Callable[..., Ranked],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """11 and 13 examples in batches of 4: no number of ranks divides them."""
    monkeypatch.chdir(tmp_path)
    words = [f"run={tiny_trained.folder}", f"trainer.precision={precision}", "task.batch_size=4"]
    assert run_main("eval", *words, "to=one.json").code == 0
    expected = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    for count in (2, 3):
        done = ranked(*words, f"trainer.devices={count}", "to=figures.json", command=EVAL)
        found = json.loads((done.place / "figures.json").read_text(encoding="utf-8"))
        assert found.keys() == expected.keys() == {"val", "test"}
        for split, scores in expected.items():
            assert found[split] == pytest.approx(scores, rel=tolerance)
            assert found[split]["accuracy"] == pytest.approx(scores["accuracy"], rel=1e-12)  # a ratio of two counts
        assert done.out.count("validation") == 1


def test_a_rank_without_a_batch_changes_nothing(
    tiny_trained: Any, ranked: Callable[..., Ranked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text that fills one row: of three ranks, two have nothing to score."""
    text = tmp_path / "one.txt"
    text.write_text("only a few words", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = [f"run={tiny_trained.folder}", "data=text", f"data.path={text}"]
    assert run_main("eval", *words, "to=one.json").code == 0
    done = ranked(*words, "trainer.devices=3", "to=figures.json", command=EVAL)
    found, expected = (json.loads(p.read_text()) for p in (done.place / "figures.json", tmp_path / "one.json"))
    assert found["test"] == pytest.approx(expected["test"], rel=1e-6)


def test_predictions_of_two_ranks_are_those_of_one(
    tiny: list[str], ranked: Callable[..., Ranked], cli: Callable[..., Any]
) -> None:
    words = [*tiny, "trainer.precision=64", "task.eval_batch_size=2"]
    one = cli("train", *words, "task.batch_size=8")
    two = ranked(*words, "task.batch_size=4", "trainer=ddp", "trainer.devices=2")
    first, second = (
        [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
        for folder in (one.folder, two.folder)
    )
    for mine, theirs in zip(first, second, strict=True):
        assert {**mine, "loss": 0, "bits_per_byte": 0} == {**theirs, "loss": 0, "bits_per_byte": 0}
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-9)
