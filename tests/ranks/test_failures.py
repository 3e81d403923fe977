"""A rank that fails takes the others down, says why once, and leaves a folder that resumes. Nothing hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import TORCHRUN, Ranked

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(300)]

TWO = ["trainer=ddp", "trainer.devices=2"]
ENDLESS = ["trainer.max_steps=100000", "trainer.val_every_n_steps=100000", "trainer.log_every_n_steps=1",
           "++callbacks.save_every_n_steps=5", "++callbacks.samples=0"]  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_within_ten_seconds(
    rank: int, tiny: list[str], start: Callable[..., Ranked], ranked: Callable[..., Ranked]
) -> None:
    run = start(*tiny, *TWO, *ENDLESS)
    run.after_rows(12)
    pids = run.rank_pids()
    os.kill(pids[rank], signal.SIGKILL)
    killed = time.monotonic()
    assert run.wait() == 1
    assert time.monotonic() - killed < 10
    assert f"error: rank {rank} was killed by SIGKILL." in run.err
    assert "Traceback" not in run.err
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    resumed = ranked(f"resume={run.folder}", "trainer.max_steps=40", place=run.place)
    assert resumed.results["run"]["steps"] == 40


def test_ranks_do_not_outlive_the_process_that_started_them(tiny: list[str], start: Callable[..., Ranked]) -> None:
    run = start(*tiny, *TWO, *ENDLESS)
    run.after_rows(3)
    pids = run.rank_pids()
    run.process.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_signal_leaves_at_once(tiny: list[str], start: Callable[..., Ranked]) -> None:
    run = start(*tiny, *TWO, *ENDLESS)
    run.after_rows(3)
    for _ in range(2):
        os.kill(run.process.pid, signal.SIGINT)
    told = time.monotonic()
    assert run.wait() == 130
    assert time.monotonic() - told < 10


ONE_FAILS = """
from pathlib import Path
from manyheads import ranks
from manyheads.model.decoder import Decoder

class Fails(Decoder):
    def forward(self, batch, cache=None):
        if self.training and ranks.rank() == 1:
            {what}
        return super().forward(batch, cache)
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raise RuntimeError('the seventh seal')", "the seventh seal"),
        ("raise MemoryError", "error: rank 1: out of memory"),
    ],
)
def test_the_rank_that_fails_says_why(
    what: str, said: str, tiny: list[str], start: Callable[..., Ranked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_network.py").write_text(ONE_FAILS.format(what=what))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    run = start(*tiny, *TWO, "model._target_=own_network.Fails", "allow=[own_network]")
    assert run.wait() == 1
    assert said in run.err
    assert "Connection closed" not in run.err
    assert run.results["run"]["status"] == "failed"


def test_under_torchrun_the_failure_is_the_exit_code(tiny: list[str], start: Callable[..., Ranked]) -> None:
    run = start(*tiny, "optim=adamw", "optim.lr=1e30", "trainer.gradient_clip_val=null", command=TORCHRUN)
    assert run.wait() != 0
    assert run.err.count("error: At step") == 1
