"""From start to the first training step on cached data, and --help, over the import of torch and Lightning.

Processes, interleaved: here the interpreter's start belongs to what is measured, on both sides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial

from benchmarks.base import Benchmark, Goal, interleave

IMPORT = [sys.executable, "-c", "import torch, pytorch_lightning"]
HELP = [sys.executable, "-m", "manyheads", "train", "--help"]
WANDB = [sys.executable, "-m", "manyheads", "train", "trainer.max_steps=100000"]
CSV = [*WANDB, "logger=csv"]
FIRST = r"step\s+1/"


def seconds(command: list[str], folder: str, until: str | None = None) -> float:
    """Wall seconds of a process, or until a line of its output matches."""
    started = time.perf_counter()
    environment = {**os.environ, "WANDB_MODE": "offline"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if until and re.match(until, line):
            elapsed = time.perf_counter() - started
            process.kill()
            process.wait()
            return elapsed
    assert until is None, f"{command} ended without a line like {until}"
    assert process.wait() == 0, f"{command} failed"
    return time.perf_counter() - started


def measure(rounds: int) -> dict[str, list[float]]:
    """Each over the import, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        rows = interleave(
            rounds,
            partial(seconds, IMPORT, folder),
            partial(seconds, HELP, folder),
            partial(seconds, CSV, folder, FIRST),
            partial(seconds, WANDB, folder, FIRST),
        )
    return {
        "help": [help_ / base for base, help_, _, _ in rows],
        "csv": [first / base for base, _, first, _ in rows],
        "wandb": [first / base for base, _, _, first in rows],
        "import": [base for base, *_ in rows],
    }


BENCHMARK = Benchmark(
    name="startup",
    peer="import of torch and Lightning",
    measure=measure,
    goals={
        "csv": Goal("start to first training step, CSV alone", 1.3, "at most"),
        "wandb": Goal("start to first training step, W&B offline", 1.6, "at most"),
        "help": Goal("--help", 0.2, "at most"),
        "import": Goal("import of torch and Lightning", unit="s"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
