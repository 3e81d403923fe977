"""Guards rows whose windows are read on different ranks: each row is answered once, from all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..end_to_end.test_qa import SPAN, small_run
from .conftest import Ranked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_answers_of_two_ranks_are_those_of_one(
    ranked: Callable[..., Ranked], cli: Callable[..., Any], tmp_path: Path
) -> None:
    words = [*small_run(tmp_path / "rows"), *SPAN, "trainer.precision=64", "task.eval_batch_size=2"]
    one = cli("train", *words, "task.batch_size=8")
    two = ranked(*words, "task.batch_size=4", "trainer=ddp", "trainer.devices=2")
    assert two.results["test"] == pytest.approx(one.results["test"], rel=1e-9)
    first, second = (
        [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
        for folder in (one.folder, two.folder)
    )
    assert [line["id"] for line in second] == list(range(9))
    for mine, theirs in zip(first, second, strict=True):
        assert theirs["output"]["text"] == mine["output"]["text"]
        assert theirs["output"]["score"] == pytest.approx(mine["output"]["score"], rel=1e-9)
        assert theirs["score"] == mine["score"]
