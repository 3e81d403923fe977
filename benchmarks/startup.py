"""From start to the first training step, and --help, over the import of torch and Lightning; interleaved processes.

    python -m benchmarks.startup [ROUNDS]

Goals: --help at most 0.2; the first step is logged.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time

IMPORT = [sys.executable, "-c", "import torch, pytorch_lightning"]
HELP = [sys.executable, "-m", "manyheads", "train", "--help"]
TRAIN = [sys.executable, "-m", "manyheads", "train", "trainer.max_steps=100000", "logger=csv", "callbacks.samples=0"]


def seconds(command: list[str], folder: str, until: str | None = None) -> float:
    """Wall seconds of a process, or until a line of its output matches."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
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


def main(rounds: int = 5) -> None:
    """Prints the medians and the ratios pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        for command in (IMPORT, HELP):
            seconds(command, folder)
        seconds(TRAIN, folder, r"step\s+1/")
        rows = [
            (seconds(IMPORT, folder), seconds(HELP, folder), seconds(TRAIN, folder, r"step\s+1/"))
            for _ in range(rounds)
        ]
    imports, helps, firsts = zip(*rows, strict=True)
    print(f"import of torch and Lightning {statistics.median(imports):.2f} s")
    for name, values in (("--help", helps), ("first training step", firsts)):
        ratios = [value / base for value, base in zip(values, imports, strict=True)]
        print(f"{name}: {statistics.median(values):.2f} s, ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
