"""Runs on several ranks: real processes over gloo, through the front door, each with a time limit."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""The limit of every process."""


@dataclass
class Ranked:
    """A command line in a process of its own, and the folder that it runs in."""

    place: Path
    process: subprocess.Popen[str]
    out: str = ""
    err: str = ""
    started: float = field(default_factory=time.monotonic)

    def wait(self) -> int:
        """The exit code."""
        self.out, self.err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode

    @property
    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.place.glob("outputs/runs/*/train.log"))

    @property
    def folder(self) -> Path:
        (found,) = self.folders
        return found

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))

    @property
    def metrics(self) -> list[dict[str, float]]:
        with (self.folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]

    def after_rows(self, count: int) -> None:
        """Waits until so many rows are logged."""
        while time.monotonic() < self.started + SECONDS:
            if self.process.poll() is not None:
                raise AssertionError(self.process.communicate())
            if self.folders and (self.folder / "metrics.csv").is_file() and len(self.metrics) >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"no {count} rows after {SECONDS} seconds")

    def rank_pids(self) -> list[int]:
        """The ranks' processes, first to last."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return sorted(map(int, done.stdout.split()))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Ranked]]:
    """Starts `train.py WORDS`, or another command, in a new folder; what is left of it at the end is killed."""
    begun: list[Ranked] = []

    def start(*words: str, command: tuple[str, ...] = (str(ROOT / "train.py"),), place: Path | None = None) -> Ranked:
        where = place or tmp_path / f"run{len(begun)}"
        where.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, *command, *words],
            cwd=where,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
        begun.append(Ranked(where, process))
        return begun[-1]

    yield start
    for each in begun:
        if each.process.poll() is None:
            for pid in [*each.rank_pids(), each.process.pid]:
                os.kill(pid, signal.SIGKILL)
        if not each.out and not each.err:
            each.process.communicate()


@pytest.fixture
def ranked(start: Callable[..., Ranked]) -> Callable[..., Ranked]:
    """The same, waited for; it must have ended well."""

    def run(*words: str, **more: Any) -> Ranked:
        done = start(*words, **more)
        assert done.wait() == 0, done.err
        return done

    return run


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(ROOT / "train.py"))


def losses(rows: list[dict[str, float]]) -> list[float]:
    """The training loss of each logged step."""
    return [row["train/loss"] for row in rows if "train/loss" in row]
