"""A run that was stopped goes on to the same end, on as many ranks as before or on others."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ..conftest import run_main
from .conftest import TORCHRUN, Ranked, losses

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(400)]

TWO = ["trainer=ddp", "trainer.devices=2", "task.batch_size=4"]
LONG = [
    "trainer.max_steps=400",
    "trainer.val_every_n_steps=200",
    "trainer.log_every_n_steps=1",
    "++callbacks.samples=0",
]


def same(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith("perf/")}


@pytest.fixture(scope="module")
def never_stopped(
    tiny: list[str], session_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The rows and the last weights of two ranks that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANYHEADS_CACHE", str(session_cache))
        patch.chdir(tmp_path_factory.mktemp("whole"))
        done = run_main("train", *tiny, *LONG, *TWO, "model.dropout=0.1")
    assert done.code == 0, done.err
    weights = torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return [same(row) for row in done.metrics], weights


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_two_ranks_stop_together_and_go_on_bit_for_bit(
    signum: int,
    code: int,
    tiny: list[str],
    start: Callable[..., Ranked],
    ranked: Callable[..., Ranked],
    never_stopped: tuple[list[dict[str, float]], dict[str, torch.Tensor]],
) -> None:
    stopped = start(*tiny, *LONG, *TWO, "model.dropout=0.1")
    stopped.after_rows(10)
    os.kill(stopped.process.pid, signum)
    assert stopped.wait() == code
    step = stopped.results["run"]["steps"]
    assert 10 <= step < 400
    assert stopped.results["run"]["status"] == "interrupted"
    assert f"after step {step}, saved. Go on with: python train.py resume=outputs/runs/" in stopped.err
    assert "Traceback" not in stopped.err
    resumed = ranked(f"resume={stopped.folder}", place=stopped.place)
    rows, weights = never_stopped
    assert [same(row) for row in resumed.metrics] == rows
    found = torch.load(resumed.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_ranks(
    before: int,
    after: int,
    tiny: list[str],
    start: Callable[..., Ranked],
    ranked: Callable[..., Ranked],
    cli: Callable[..., Any],
) -> None:
    """The same global batch, so the same losses; the place in the data is kept in rows."""

    def words(count: int) -> list[str]:
        return [f"trainer.devices={count}", f"task.batch_size={8 // count}", "trainer.precision=64"]

    stopped = start(*tiny, *LONG, *words(before))
    stopped.after_rows(10)
    os.kill(stopped.process.pid, signal.SIGTERM)
    assert stopped.wait() == 143
    resumed = ranked(f"resume={stopped.folder}", *words(after), place=stopped.place)
    whole = cli("train", *tiny, *LONG, "task.batch_size=8", "trainer.precision=64")
    assert resumed.results["run"]["steps"] == 400
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
    stopped.after_rows(10)
    os.kill(stopped.rank_pids()[0], signal.SIGTERM)  # as a cluster tells one rank
    assert stopped.wait() != 0
    assert stopped.results["run"]["status"] == "interrupted"
    resumed = ranked(f"resume={stopped.folder}", place=stopped.place, command=TORCHRUN)
    assert resumed.results["run"]["steps"] == 400


def test_a_resume_on_ranks_of_a_finished_run_says_so_once(tiny_trained: Any, start: Callable[..., Ranked]) -> None:
    before = json.loads((tiny_trained.folder / "results.json").read_text())
    refused = start(f"resume={tiny_trained.folder}", "trainer.devices=2")
    assert refused.wait() == 1
    assert refused.err.count("this run is finished at step 6") == 1
    assert json.loads((tiny_trained.folder / "results.json").read_text()) == before
