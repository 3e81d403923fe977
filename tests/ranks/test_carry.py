"""Rows that go on with the state of the row before, on two ranks as on one, and from two to one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ranked, losses

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(400)]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    texts = [f"{'abcdefghijkl' * 4}"[: 4 + 7 * i % 44] + f" {i * i} text" for i in range(18)]
    for name, rows in {"train": texts, "scored": texts[:5]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    paths = ", ".join(f"{split}: {tmp_path}/{name}.jsonl" for split, name in
                      (("train", "train"), ("validation", "scored"), ("test", "scored")))  # fmt: skip
    return [
        "data=json", f"data.path={{{paths}}}", "tokenizer=byte", "model=lstm", "model.dim=16", "task.seq_len=8",
        "++task.carry=true", "trainer=cpu", "trainer.log_every_n_steps=1", "logger=csv", "trainer.precision=64",
        "++callbacks.samples=0", "++baselines=false", "trainer.val_every_n_steps=200",
    ]  # fmt: skip


def test_two_ranks_are_one(words: list[str], ranked: Callable[..., Ranked], cli: Callable[..., Any]) -> None:
    words = [*words, "trainer.max_steps=30"]
    alone = cli("train", *words, "task.batch_size=8")
    both = ranked(*words, "trainer.devices=2", "task.batch_size=4")
    assert losses(both.metrics) == pytest.approx(losses(alone.metrics), rel=1e-7)
    for name, value in alone.results["test"].items():
        assert both.results["test"][name] == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_ranks(
    before: int,
    after: int,
    words: list[str],
    start: Callable[..., Ranked],
    ranked: Callable[..., Ranked],
    cli: Callable[..., Any],
) -> None:
    """A lane that another rank reads now goes on with the state that it had."""

    def settings(count: int) -> list[str]:
        return [f"trainer.devices={count}", f"task.batch_size={8 // count}"]

    words = [*words, "trainer.max_steps=400"]
    stopped = start(*words, *settings(before))
    stopped.after_rows(10)
    os.kill(stopped.process.pid, signal.SIGTERM)
    assert stopped.wait() == 143
    resumed = ranked(f"resume={stopped.folder}", *settings(after), place=stopped.place)
    whole = cli("train", *words, "task.batch_size=8")
    assert losses(resumed.metrics) == pytest.approx(losses(whole.metrics), rel=1e-5)
