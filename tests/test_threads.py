"""Guards: a run that takes all cores of a shared machine, and one that takes fewer where nobody else is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from manyheads import threads
from manyheads.errors import UserError
from manyheads.threads import Threads, best, changed_note, choose_threads, is_busy, measure, usable_cores


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine of 8 cores whose settings a test chooses; what is tried answers that 2 threads are best."""

    def made(*, load: float = 0.0, affinity: int = 8, own: int = 8, environment: str = "") -> list[int]:
        tried: list[int] = []
        for name in threads.ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        if environment:
            monkeypatch.setenv("OMP_NUM_THREADS", environment)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
        monkeypatch.setattr(threads, "_quota", lambda root: None)
        monkeypatch.setattr(threads, "_torchs_own", lambda: own)
        monkeypatch.setattr(threads, "_tried", lambda most: tried.append(most) or 2)
        return tried

    return made


@pytest.mark.parametrize(
    ("settings", "asked", "ranks", "expected"),
    [
        ({}, None, 1, 8),
        ({"own": 4}, None, 1, 4),  # torch counts cores and not their hyperthreads
        ({"affinity": 3}, None, 1, 3),
        ({}, None, 4, 2),
        ({}, None, 16, 1),
        ({"load": 9.0}, 6, 1, 6),
        ({"load": 9.0, "own": 5, "environment": "5"}, None, 1, 5),
        ({"load": 9.0}, None, 8, 1),  # nothing to try
    ],
)
def test_the_count_that_is_not_tried(machine: Any, settings: Any, asked: Any, ranks: int, expected: int) -> None:
    tried = machine(**settings)
    assert choose_threads(asked, ranks) == expected
    assert tried == []


def test_a_busy_machine_is_tried(machine: Any) -> None:
    tried = machine(load=2.0)
    assert choose_threads(None, 1) == 2
    assert choose_threads(None, 2) == 2
    assert tried == [8, 4]


def test_what_is_asked_for_is_checked() -> None:
    with pytest.raises(UserError, match=r"trainer\.threads=0: set a whole number of at least 1\."):
        choose_threads(0)


@pytest.mark.parametrize(("load", "wanted", "busy"), [(0.1, 8, False), (0.6, 8, True), (3.9, 4, False), (5.0, 4, True)])
def test_busy_means_that_too_few_cores_were_idle(machine: Any, load: float, wanted: int, busy: bool) -> None:
    machine(load=load)
    assert is_busy(wanted) is busy


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_the_quota_of_a_container(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [({1: 100.0, 2: 180.0, 4: 300.0}, 4), ({1: 100.0, 2: 109.0, 4: 20.0}, 1), ({1: 10.0, 2: 100.0, 4: 105.0}, 2)],
)
def test_more_threads_must_gain_something(rates: dict[int, float], expected: int) -> None:
    assert best(rates) == expected


def test_measuring_is_short_and_leaves_the_count_and_the_random_state() -> None:
    state, before = torch.get_rng_state(), torch.get_num_threads()
    rates = measure([1, 2], seconds=0.02)
    assert set(rates) == {1, 2}
    assert min(rates.values()) > 0
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_count_is_set_when_a_run_starts() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        Threads(2).setup(pl.Trainer.__new__(pl.Trainer), pl.LightningModule(), "fit")
        assert torch.get_num_threads() == 2
        assert changed_note(2) == changed_note(None) == []
        assert changed_note(1.0) == [
            "trainer.threads is 2 now and was 1: sums may differ in the last digits. Set 1 to keep them."
        ]
    finally:
        torch.set_num_threads(before)
