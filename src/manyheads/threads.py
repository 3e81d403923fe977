"""How many threads torch computes with on a CPU: as many as it takes by itself, fewer where it would be slow with those.

Torch takes a thread for each core, whoever else uses them. Where another process holds one of the cores, each kernel
waits for the thread that was put aside, and two threads can take ten times as long as one. The count changes the order
in which numbers are added, and so the last digits of results: it is shown where it is not torch's own, and kept in the
run's results.
"""

from __future__ import annotations

import functools
import math
import os
import statistics
import time
from pathlib import Path

import torch

from manyheads import ranks
from manyheads.errors import check_count

ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What torch itself obeys."""

_LOAD = Path("/proc/loadavg")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SAMPLES, _GAP = 5, 0.001


def set_threads(asked: int | None = None) -> None:
    """Lets torch compute with so many threads; None: with those that `choose_threads` finds. Raises UserError."""
    torch_threads()  # once a number is set, torch's own is gone
    if asked is not None:
        check_count("trainer.threads", asked)
    count = choose_threads() if asked is None else asked
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


@functools.cache
def choose_threads() -> int:
    """Torch's own number, but no more than there are cores which the container may use and nobody else computes on.

    Several ranks on this machine share the cores.
    Chosen once in a process, in 5 ms, so that the runs of a sweep have the same. What OMP_NUM_THREADS or MKL_NUM_THREADS
    say is left alone.
    """
    own = torch_threads()
    if any(os.environ.get(name) for name in ENVIRONMENT):
        return own
    if ranks.local_world() > 1:  # the other ranks are the neighbours
        return max(1, min(own, cores_allowed()) // ranks.local_world())
    free = (os.cpu_count() or 1) - busy_neighbours()
    return max(1, min(own, cores_allowed(), free))


@functools.cache
def torch_threads() -> int:
    """What torch takes by itself: its number before anything here has changed it."""
    return torch.get_num_threads()


def busy_neighbours(load: Path = _LOAD) -> int:
    """How many threads of other processes are computing just now; 0 where the system does not say (it is Linux that does).

    The median of a few looks, since many a process wakes for a moment only. A load average would still count the run
    that has ended a minute ago, and would not yet count the one that was started together with this one.
    """
    looks = []
    for _ in range(_SAMPLES):
        try:
            running = load.read_text(encoding="ascii").split()[3].partition("/")[0]
        except (OSError, IndexError):
            return 0
        looks.append(int(running) - 1)  # this thread itself
        time.sleep(_GAP)
    return max(0, int(statistics.median(looks)))


def cores_allowed(quota: Path = _QUOTA) -> int:
    """The cores' worth of time that the container gives (Linux control groups, version 2: cpu.max), which torch does not
    look at; all cores without one."""
    cores = os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return math.ceil(int(share) / int(period)) if share.isdecimal() else cores


def threads_note(asked: int | None, before: float | None = None) -> list[str]:
    """What a run says of its threads: that they are not those it had `before` it was interrupted, or not torch's own
    number though none was asked for."""
    now = torch.get_num_threads()
    if before is not None and int(before) != now:
        return [
            f"{_counted(now)} now and {int(before)} before: sums may differ in the last digits. Set trainer.threads."
        ]
    if asked is not None or now == torch_threads() or ranks.local_world() > 1:
        return []
    return [
        f"{_counted(now)} instead of torch's {torch_threads()}: other processes use the cores. Set trainer.threads for more."
    ]


def _counted(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"
