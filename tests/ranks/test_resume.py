"""A run that was stopped goes on to the same end, on as many ranks as before or on others."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from .conftest import TORCHRUN, Ranked, losses

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(400)]

TWO = ["trainer=ddp", "trainer.devices=2", "task.batch_size=4"]
LONG = [
    "trainer.max_steps=800",
    "trainer.val_every_n_steps=200",
    "trainer.log_every_n_steps=1",
    "++callbacks.samples=0",
]


def same(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith("perf/")}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_two_ranks_stop_together_and_go_on_bit_for_bit(
    signum: int, code: int, tiny: list[str], start: Callable[..., Ranked], ranked: Callable[..., Ranked]
) -> None:
    words = [*tiny, *LONG, *TWO, "model.dropout=0.1"]
    stopped = start(*words)
    stopped.after_rows(20)
    os.kill(stopped.process.pid, signum)
    assert stopped.wait() == code
    step = stopped.results["run"]["steps"]
    assert 20 <= step < 800
    assert stopped.results["run"]["status"] == "interrupted"
    assert f"after step {step}, saved. Go on with: python train.py resume=outputs/runs/" in stopped.err
    assert "Traceback" not in stopped.err
    resumed = ranked(f"resume={stopped.folder}", place=stopped.place)
    whole = ranked(*words)
    assert [same(row) for row in resumed.metrics] == [same(row) for row in whole.metrics]
    first, second = (
        torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (resumed, whole)
    )
    assert all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_ranks(
    before: int, after: int, tiny: list[str], start: Callable[..., Ranked], ranked: Callable[..., Ranked]
) -> None:
    """The same global batch, so the same losses; the place in the data is kept in rows."""

    def words(count: int) -> list[str]:
        return [f"trainer.devices={count}", f"task.batch_size={8 // count}"]

    stopped = start(*tiny, *LONG, *words(before))
    stopped.after_rows(20)
    os.kill(stopped.process.pid, signal.SIGTERM)
    assert stopped.wait() == 143
    resumed = ranked(f"resume={stopped.folder}", *words(after), place=stopped.place)
    whole = ranked(*tiny, *LONG, "task.batch_size=8")
    assert resumed.results["run"]["steps"] == 800
    assert losses(resumed.metrics) == pytest.approx(losses(whole.metrics), rel=1e-5)
    assert [row["train/tokens"] for row in resumed.metrics] == [row["train/tokens"] for row in whole.metrics]


def test_a_time_limit_ends_all_ranks_at_one_step(tiny: list[str], ranked: Callable[..., Ranked]) -> None:
    done = ranked(*tiny, *TWO, "trainer.max_steps=null", "trainer.max_minutes=0.02", "trainer.val_every_n_steps=100000")
    assert done.results["run"]["status"] == "done"
    assert done.results["run"]["steps"] > 0


def test_torchrun_stops_and_resumes(
    tiny: list[str], start: Callable[..., Ranked], ranked: Callable[..., Ranked]
) -> None:
    stopped = start(*tiny, *LONG, "task.batch_size=4", command=TORCHRUN)
    stopped.after_rows(20)
    os.kill(stopped.rank_pids()[0], signal.SIGTERM)  # as a cluster tells one rank
    assert stopped.wait() != 0
    assert stopped.results["run"]["status"] == "interrupted"
    resumed = ranked(f"resume={stopped.folder}", place=stopped.place, command=TORCHRUN)
    assert resumed.results["run"]["steps"] == 800


def test_a_resume_on_ranks_of_a_finished_run_says_so_once(tiny_trained: Any, start: Callable[..., Ranked]) -> None:
    before = json.loads((tiny_trained.folder / "results.json").read_text())
    refused = start(f"resume={tiny_trained.folder}", "trainer.devices=2")
    assert refused.wait() == 1
    assert refused.err.count("this run is finished at step 6") == 1
    assert json.loads((tiny_trained.folder / "results.json").read_text()) == before
