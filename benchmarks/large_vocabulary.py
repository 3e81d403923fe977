"""The next-token loss with `chunked` beside the plain one, at a large vocabulary: peak memory and time, forward and backward.

Beside each other: `whole` (torch's cross_entropy of all logits at once), `plain` (the head as it is, which on a CPU makes
logits in parts and keeps them for backward), `chunked` (head.chunked=true) and torch's F.linear_cross_entropy where it is.
Memory is the resident set at its highest (Linux's VmHWM) less what it was before, in a fresh process for each, so that
no block that an allocator kept from another is counted or saved; it includes the gradients. Times are of one process,
interleaved: a round runs each of them once. Ratios are to `whole`; the goals for `chunked` are 0.3 of its memory and 1.8
of its time.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.base import Benchmark, Goal, interleave
from manyheads.batch import Batch
from manyheads.head.next_token import NextToken

SIZES = (32_000, 2_048, 256)
"""V, N and D."""

Run = Callable[[NextToken, Tensor, Tensor], Tensor]


def whole(head: NextToken, hidden: Tensor, labels: Tensor) -> Tensor:
    """All logits at once."""
    return F.cross_entropy(head.logits(hidden)[0], labels[0], reduction="sum")


def plain(head: NextToken, hidden: Tensor, labels: Tensor) -> Tensor:
    """The head's default."""
    head.chunked = False
    return head(hidden, Batch(labels=labels)).loss_sum


def chunked(head: NextToken, hidden: Tensor, labels: Tensor) -> Tensor:
    """The head with head.chunked=true."""
    head.chunked = True
    return head(hidden, Batch(labels=labels)).loss_sum


def of_torch(head: NextToken, hidden: Tensor, labels: Tensor) -> Tensor:
    """torch's own chunks, of the size that it chooses."""
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden[0], head.weight, labels[0], reduction="sum", options=options)


RUNS: dict[str, Run] = {"whole": whole, "plain": plain, "chunked": chunked}
if hasattr(torch.nn, "LinearCrossEntropyOptions"):
    RUNS["F.linear_cross_entropy"] = of_torch


def inputs(vocabulary: int, positions: int, width: int) -> tuple[NextToken, Tensor, Tensor]:
    """A head and its hidden states and labels, of one row."""
    torch.manual_seed(0)
    head = NextToken(dim=width, vocab_size=vocabulary)
    hidden = torch.randn(1, positions, width, requires_grad=True)
    return head, hidden, torch.randint(0, vocabulary, (1, positions))


def seconds(name: str, head: NextToken, hidden: Tensor, labels: Tensor) -> float:
    """One forward and backward pass."""
    head.weight.grad = hidden.grad = None
    started = time.perf_counter()
    RUNS[name](head, hidden, labels).backward()
    return time.perf_counter() - started


def peak(name: str, sizes: tuple[int, int, int]) -> float:
    """MB that one pass takes at its highest, in this process."""
    torch.set_num_threads(1)
    seconds(name, *inputs(97, 8, sizes[2]))  # so that libraries are loaded before
    made = inputs(*sizes)
    before = _resident("VmRSS")
    seconds(name, *made)
    return _resident("VmHWM") - before


def _resident(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def measure(rounds: int) -> dict[str, list[float]]:
    """Memory and time over those of all logits at once."""
    made = inputs(*SIZES)
    memory = []
    for _ in range(rounds):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            memory.append({name: pool.apply(peak, (name, SIZES)) for name in RUNS})
    times = interleave(rounds, *(partial(seconds, name, *made) for name in RUNS))
    found = {}
    for i, name in enumerate(RUNS):
        found[f"{name}_memory"] = [each[name] / each["whole"] for each in memory]
        found[f"{name}_time"] = [each[i] / each[0] for each in times]
    return {key: found[key] for key in GOALS}


GOALS = {
    "chunked_memory": Goal("head.chunked=true: peak memory", 0.3, "at most"),
    "chunked_time": Goal("head.chunked=true: time", 1.8, "at most"),
    "plain_memory": Goal("the head's default: peak memory"),
    "plain_time": Goal("the head's default: time"),
}
if "F.linear_cross_entropy" in RUNS:
    GOALS["F.linear_cross_entropy_memory"] = Goal("F.linear_cross_entropy: peak memory")
    GOALS["F.linear_cross_entropy_time"] = Goal("F.linear_cross_entropy: time")

BENCHMARK = Benchmark(
    name="large_vocabulary", peer="all logits at once, V=32,000, N=2,048", measure=measure, goals=GOALS
)

if __name__ == "__main__":
    BENCHMARK.main()
