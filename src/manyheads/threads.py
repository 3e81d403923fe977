"""How many threads torch computes with on a CPU: as many as there are cores to use, fewer where others use them.

Where other processes hold cores, each kernel waits for the thread that was put aside, and more threads can be ten times
slower than one. The count changes the order in which numbers are added, and so the last digits of results: it is shown
at the start of a run and kept in its results.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch

from manyheads.errors import check_count

ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
GAIN = 1.1
"""What more threads must gain over fewer to be taken."""

_CGROUP = Path("/sys/fs/cgroup")
_ROUNDS = 3


class Threads(pl.Callback):
    """Sets the number of threads when a run starts: Lightning sets one of its own when it starts several ranks."""

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        set_threads(self.count)


def set_threads(count: int) -> None:
    """Lets torch compute with so many threads."""
    if count != torch.get_num_threads():  # setting the number that is there would still change how MKL divides work
        torch.set_num_threads(count)


def choose_threads(asked: int | None = None, ranks: int = 1) -> int:
    """The number of threads for each of `ranks` processes that share this machine.

    What is asked for; else what OMP_NUM_THREADS or MKL_NUM_THREADS say; else the share of a rank in the cores that this
    process may use, but no more than torch takes by itself. Where other processes keep the machine busy, 1, half as many
    and as many are tried for a quarter of a second, once for a process, and the smallest number is taken that is not
    clearly slower than the best.
    """
    if asked is not None:
        check_count("trainer.threads", asked)
        return asked
    if any(os.environ.get(name) for name in ENVIRONMENT):
        return _torchs_own()
    most = max(1, min(_torchs_own(), usable_cores() // ranks))
    return _tried(most) if most > 1 and is_busy(most * ranks) else most


def usable_cores(root: Path = _CGROUP) -> int:
    """The cores that this process may use: its affinity, and the quota of its container (Linux control groups)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_quota(root) or cores)))


def is_busy(wanted: int) -> bool:
    """Whether fewer than `wanted` cores of the machine were idle in the last minute."""
    try:
        load = os.getloadavg()[0]
    except OSError:  # not every system tells
        return False
    return load + wanted > (os.cpu_count() or 1) + 0.5  # this process's own imports are part of the load


def measure(counts: Sequence[int], seconds: float = 0.25) -> dict[int, float]:
    """Number of threads -> steps per second of a loop of small kernels, like those of a small network; in turn."""
    before = torch.get_num_threads()
    x, w = torch.ones(256, 128), torch.ones(128, 512)
    steps, spent = dict.fromkeys(counts, 0), dict.fromkeys(counts, 0.0)
    try:
        for _ in range(_ROUNDS):
            for count in counts:
                torch.set_num_threads(count)
                torch.tanh(x @ w)  # starts the threads
                started = now = time.perf_counter()
                while now - started < seconds / _ROUNDS / len(counts):
                    torch.tanh(x @ w)
                    steps[count] += 1
                    now = time.perf_counter()
                spent[count] += now - started
    finally:
        torch.set_num_threads(before)
    return {count: steps[count] / spent[count] for count in counts}


def best(rates: dict[int, float]) -> int:
    """The smallest count that no other beats clearly."""
    return min(count for count, rate in rates.items() if rate * GAIN >= max(rates.values()))


def changed_note(before: float | None) -> list[str]:
    """What a resumed run says when it had another number of threads before."""
    now = torch.get_num_threads()
    if before is None or before == now:
        return []
    before = int(before)
    return [
        f"trainer.threads is {now} now and was {before}: sums may differ in the last digits. Set {before} to keep them."
    ]


@functools.cache
def _tried(most: int) -> int:
    return best(measure(sorted({1, max(1, most // 2), most})))


@functools.cache
def _torchs_own() -> int:
    """What torch chose before anything here changed it."""
    return torch.get_num_threads()


def _quota(root: Path) -> float | None:
    """The cores that a container may use; None for no limit. Version 2 of control groups, then version 1."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdigit() and int(period) else None
