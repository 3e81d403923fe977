"""Guards: a run that takes all cores of a shared machine, and one that takes fewer where nobody else is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads import threads
from manyheads.errors import UserError
from manyheads.threads import (
    busy_neighbours,
    choose_threads,
    cores_allowed,
    set_threads,
    threads_note,
    torch_threads,
)

MAX = "max 100000\n"


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    before = torch.get_num_threads()
    choose_threads.cache_clear(), torch_threads.cache_clear()
    yield
    torch.set_num_threads(before)
    choose_threads.cache_clear(), torch_threads.cache_clear()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine of 8 cores whose neighbours, quota and torch a test chooses."""

    def made(*, neighbours: int = 0, allowed: int = 8, own: int = 8, environment: str = "") -> None:
        for name in threads.ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        if environment:
            monkeypatch.setenv("OMP_NUM_THREADS", environment)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        monkeypatch.setattr(threads, "busy_neighbours", lambda: neighbours)
        monkeypatch.setattr(threads, "cores_allowed", lambda: allowed)
        monkeypatch.setattr(threads, "torch_threads", lambda: own)

    return made


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 8),
        ({"own": 4}, 4),  # torch counts cores and not their hyperthreads
        ({"own": 4, "neighbours": 4}, 4),  # they have the other four
        ({"neighbours": 1}, 7),
        ({"neighbours": 8}, 1),
        ({"neighbours": 99}, 1),
        ({"allowed": 2}, 2),
        ({"allowed": 2, "neighbours": 7}, 1),
        ({"neighbours": 7, "own": 5, "environment": "5"}, 5),
    ],
)
def test_the_count(machine: Any, settings: dict[str, Any], expected: int) -> None:
    machine(**settings)
    assert choose_threads() == expected


def test_a_quiet_machine_keeps_what_torch_has(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set, so no number can change."""
    machine(own=torch.get_num_threads())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda count: pytest.fail("it was set"))
        set_threads()
    assert threads_note(None) == []


def test_every_run_of_a_process_has_the_same(machine: Any) -> None:
    machine(neighbours=3)
    assert choose_threads() == 5
    machine()
    assert choose_threads() == 5


def test_what_is_asked_for_is_set_and_checked() -> None:
    set_threads(3)
    assert torch.get_num_threads() == 3
    with pytest.raises(UserError, match=r"trainer\.threads=0: set a whole number of at least 1\."):
        set_threads(0)


def test_torchs_own_number_is_known_after_another_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run of a sweep would else take the first one's for torch's."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    set_threads(1)
    set_threads()
    assert torch.get_num_threads() == torch_threads() == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.10 0.20 0.30 1/130 4242\n", 0),
        ("9.00 9.00 9.00 1/130 4242\n", 0),  # of a run that has ended
        ("0.00 0.00 0.00 3/130 4242\n", 2),  # of two that have begun
        ("0.00 0.00 0.00 0/130 4242\n", 0),
        ("something else\n", 0),
    ],
)
def test_who_computes_now(text: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text(text)
    assert busy_neighbours(tmp_path / "loadavg") == expected


def test_a_system_that_does_not_say(tmp_path: Path) -> None:
    assert busy_neighbours(tmp_path / "nothing") == 0


def test_a_process_that_wakes_for_a_moment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(["1/9", "5/9", "1/9", "1/9", "2/9"])
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: f"0 0 0 {next(looks)} 1")
    assert busy_neighbours() == 0


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="only Linux says who computes")
def test_real_neighbours_are_seen() -> None:
    """Three processes that count: at least two of them are computing at any time, whatever else this machine does."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        time.sleep(0.3)
        assert busy_neighbours() >= 2
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("text", "expected"),
    [(MAX, 8), ("250000 100000\n", 3), ("50000 100000\n", 1), ("1600000 100000\n", 16), ("", 8)],
)
def test_the_quota_of_a_container(text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (tmp_path / "cpu.max").write_text(text)
    assert cores_allowed(tmp_path / "cpu.max") == expected
    assert cores_allowed(tmp_path / "nothing") == 8


def test_what_a_run_says() -> None:
    torch.set_num_threads(2)
    assert torch_threads() == 2
    assert threads_note(None) == threads_note(None, before=2) == []
    set_threads(1)
    assert threads_note(1) == threads_note(1, before=1.0) == []
    assert threads_note(None) == [
        "1 thread instead of torch's 2: other processes use the cores. Set trainer.threads for more."
    ]
    assert threads_note(1, before=2.0) == [
        "1 thread now and 2 before: sums may differ in the last digits. Set trainer.threads."
    ]
