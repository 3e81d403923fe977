"""Guards the process that watches ranks: what it returns, raises and leaves behind. The ranks are real processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from manyheads import launch
from manyheads.errors import Interrupted, UserError
from manyheads.launch import RankError, run_ranks

pytestmark = pytest.mark.timeout(120)

PLACES = """
import os, signal, sys, time
from manyheads.errors import Interrupted, OtherRankError, UserError

RANK = int(os.environ["RANK"])

def told(config, *, word):
    return {"word": word, "deep": config.a.b, "secret": config.token, "world": os.environ["WORLD_SIZE"]}

def mistaken(config):
    if RANK == 1:
        raise UserError("x=1: set 2.")
    raise OtherRankError("rank 1 could not go on")

def interrupted(config):
    raise Interrupted(signal.SIGTERM, f"Stopped, says {RANK}.")

def left(config):
    if RANK == 1:
        raise OtherRankError("another rank has ended; it says why")
    time.sleep(1)
    raise Interrupted(signal.SIGINT, "Stopped at once.")

def faulty(config):
    if RANK == 1:
        print("a last word")
        raise ZeroDivisionError("of mine")
    time.sleep(60)

def killed(config):
    if RANK == 1:
        print("a last word", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "places.py").write_text(PLACES)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


CONFIG = OmegaConf.create({"a": {"b": 2}, "token": "hunter2"})


def run(name: str, **more: Any) -> Any:
    return run_ranks(f"places:{name}", 2, CONFIG, more)


def test_the_first_ranks_result_comes_back() -> None:
    assert run("told", word="é") == {"word": "é", "deep": 2, "secret": "hunter2", "world": "2"}


def test_a_mistake_is_raised_as_the_rank_said_it() -> None:
    with pytest.raises(UserError, match=r"^rank 1: x=1: set 2\.$"):
        run("mistaken")


def test_an_interruption_is_one() -> None:
    with pytest.raises(Interrupted, match=r"^Stopped, says 0\.$") as caught:
        run("interrupted")
    assert caught.value.exit_code == 128 + signal.SIGTERM


def test_what_another_ranks_end_has_caused_is_not_why() -> None:
    """After a second Ctrl-C the ranks leave one by one, and one that is left may end first."""
    with pytest.raises(Interrupted, match=r"^Stopped at once\.$") as caught:
        run("left")
    assert caught.value.exit_code == 128 + signal.SIGINT


def test_a_fault_has_its_traceback_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(RankError, match=r"rank 1 failed:\nTraceback[^$]*ZeroDivisionError: of mine"):
        run("faulty")
    assert time.monotonic() - started < 50


def test_a_killed_rank_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"^a last word\nrank 1 was killed by SIGKILL\.$"):
        run("killed")
