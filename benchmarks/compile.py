"""torch.compile of each block against that of the whole network: seconds until the first step is done, and of a step.

    python -m benchmarks.compile

Each is measured in a new process with an empty cache, in turn, with the real inductor; "eager" compiles nothing. A step is
forward and backward of 8 x 64 tokens, 6 layers of width 128.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.base import Benchmark, Goal, say

WAYS = ("eager", "blocks", "whole")
LAYERS, STEPS = 6, 30


def one(way: str) -> tuple[float, float]:
    """(seconds until the first step is done, median seconds of the steps after it)."""
    import torch

    from manyheads.head.next_token import NextToken
    from manyheads.model.decoder import Decoder
    from manyheads.model.regions import compile_blocks

    torch.manual_seed(1)
    network = Decoder(vocab_size=512, dim=128, num_layers=LAYERS, num_heads=4)
    head = NextToken(dim=128, vocab_size=512, weight=network.output_weight)
    {"eager": lambda network: None, "blocks": compile_blocks, "whole": lambda network: network.compile()}[way](network)
    ids = torch.randint(512, (8, 64))
    times = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        head(network({"input_ids": ids}), {"input_ids": ids, "labels": ids}).loss_sum.backward()
        times.append(time.perf_counter() - started)
    return times[0], statistics.median(times[1:])


def measure(rounds: int) -> dict[str, list[float]]:
    """Each way in a process of its own, in turn."""
    found: dict[str, list[float]] = {key: [] for key in BENCHMARK.goals}
    for number in range(rounds):
        times: dict[str, tuple[float, float]] = {}
        for way in WAYS if number % 2 else reversed(WAYS):
            with tempfile.TemporaryDirectory() as cache:
                done = subprocess.run(
                    [sys.executable, "-W", "ignore", "-c", f"from benchmarks.compile import one; print(*one({way!r}))"],
                    env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}, stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
            first, step = (float(word) for word in done.stdout.split())
            times[way] = first, step
        say(f"round {number + 1}: {times}")
        found["first"].append(times["blocks"][0] / times["whole"][0])
        found["step"].append(times["blocks"][1] / times["whole"][1])
        found["eager"].append(times["blocks"][1] / times["eager"][1])
    return found


BENCHMARK = Benchmark(
    name="compile",
    peer="compiling the whole network",
    measure=measure,
    goals={
        "first": Goal("time to the first step, block by block", 1.0, "at most"),
        "step": Goal("time of a step, block by block", direction="at most"),
        "eager": Goal("time of a step, block by block over eager", direction="at most"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
