"""What a benchmark is: goals, a peer, and a function that measures; and how one runs alone.

A file of this folder is a benchmark when it has a line `BENCHMARK = Benchmark(...)`; the others are tools. It ends with

    if __name__ == "__main__":
        BENCHMARK.main()
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal

from rich.console import Console
from rich.table import Table

ROUNDS = 5
Values = Mapping[str, Sequence[float]]


class Skipped(Exception):
    """What is missing, and the line that brings it."""


@dataclass(frozen=True)
class Goal:
    """One row of the table.

    Args:
        what: What is measured, over or beside what.
        goal: The number to reach; None where it is only told.
        direction: Which side of the goal is good.
        unit: "x" for a ratio.
    """

    what: str
    goal: float | None = None
    direction: Literal["at least", "at most"] = "at least"
    unit: str = "x"


@dataclass
class Row:
    """One row, measured; `note` has what kept it from being measured."""

    benchmark: str
    what: str
    peer: str
    goal: float | None
    direction: str
    unit: str
    threads: int
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def verdict(self) -> str:
        """met or missed by the median; told where there is no goal; else why there is no number."""
        if not self.values:
            return self.note
        if self.goal is None:
            return "told"
        median = statistics.median(self.values)
        good = median >= self.goal if self.direction == "at least" else median <= self.goal
        return "met" if good else "missed"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Args:
    name: The file's name, without .py.
    peer: What it is measured against.
    goals: A row for each key that `measure` returns.
    measure: From a number of rounds to the values of each row, one per round; raises Skipped.
    threads: torch's threads, in this process and its children.
    """

    name: str
    peer: str
    goals: Mapping[str, Goal]
    measure: Callable[[int], Values]
    threads: int = 1

    def rows(self, values: Values | None = None, note: str = "") -> list[Row]:
        """A row for each goal."""
        return [
            Row(self.name, each.what, self.peer, each.goal, each.direction, each.unit, self.threads, found, note)
            for key, each in self.goals.items()
            for found in [list(values[key]) if values is not None else []]
        ]

    def run(self, rounds: int) -> list[Row]:
        """Measures, with the threads pinned."""
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(self.threads)
        import torch

        torch.set_num_threads(self.threads)
        try:
            return self.rows(self.measure(rounds))
        except Skipped as reason:
            return self.rows(note=f"skipped: {reason}")

    def main(self, argv: Sequence[str] | None = None) -> None:
        """python -m benchmarks.NAME: this one alone."""
        words = arguments(argparse.ArgumentParser(prog=f"benchmarks.{self.name}")).parse_args(argv)
        rows = self.run(words.rounds)
        if words.json:
            words.json.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
        Console(width=None if sys.stdout.isatty() else 160).print(table(rows))


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What the driver and a benchmark alone both take."""
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"measurements per row (default {ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the rows there")
    return parser


def peer(module: str, package: str | None = None) -> ModuleType:
    """A peer's library, imported; Skipped with its pip line where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Skipped(f"pip install {package or module.partition('.')[0]}") from None


def checkout(name: str) -> Path:
    """A peer's checkout, as `--peer NAME=PATH` or the environment's BENCHMARKS_NAME says; Skipped where it does not."""
    path = os.environ.get(f"BENCHMARKS_{name.upper()}")
    if not path or not Path(path).is_dir():
        raise Skipped(f"--peer {name}=PATH, a checkout of it")
    return Path(path)


def interleave(rounds: int, *runs: Callable[[], float]) -> list[tuple[float, ...]]:
    """Each run once per round after a round that is not counted; every other round in the opposite order."""
    found = []
    for round_ in range(rounds + 1):
        order = range(len(runs)) if round_ % 2 else reversed(range(len(runs)))
        each = {i: runs[i]() for i in order}
        found.append(tuple(each[i] for i in range(len(runs))))
        say(f"round {round_}: " + " ".join(f"{value:.4g}" for value in found[-1]))
    return found[1:]


class Apart:
    """A run in a process of its own, which lives on: what one side sets for its process (the allocator, hooks, patches),
    the other does not have. The run can be pickled."""

    def __init__(self, run: Callable[[], float]) -> None:
        self.run = run
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def __call__(self) -> float:
        """What the run found."""
        return self.pool.submit(self.run).result()


def say(text: str) -> None:
    """How far a benchmark is, beside the table."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> Table:
    """Goal and measured, min, median and max over the rounds."""
    made = Table(title="median decides; ratios are interleaved, round by round")
    for head in ("benchmark", "what", "over", "goal", "min", "median", "max", "threads", ""):
        made.add_column(head, justify="right" if head in {"goal", "min", "median", "max", "threads"} else "left")
    for row in rows:
        goal = "" if row.goal is None else f"{'≥' if row.direction == 'at least' else '≤'} {row.goal:g} {row.unit}"
        low, middle, high = (f"{f(row.values):.3g}" if row.values else "" for f in (min, statistics.median, max))
        middle = f"{middle} {row.unit}" if middle else ""
        made.add_row(row.benchmark, row.what, row.peer, goal, low, middle, high, str(row.threads), row.verdict)
    return made
