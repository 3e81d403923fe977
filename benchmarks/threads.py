"""Numbers of threads on a machine that others use: training steps per second, and what `trainer.threads=null` would take.

    python -m benchmarks.threads

Neighbours are processes that multiply matrices with one thread each. The network of model=tiny is trained on 8 x 128 tokens
with torch's number of threads and with the chosen one, in turn.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.base import Benchmark, Goal, Skipped, say
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.threads import ENVIRONMENT, choose_threads, torch_threads

SECONDS = 4.0
NEIGHBOUR = "import torch\nx = torch.ones(512, 512)\nwhile True: x @ x"


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that keep a core each busy."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([sys.executable, "-c", NEIGHBOUR], env=environment) for _ in range(count)]
    try:
        time.sleep(8 if count else 0)  # they import torch
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait()


def steps_per_second(threads: int, seconds: float) -> float:
    """Training steps of a small network."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network = Decoder(vocab_size=2048, dim=128, num_layers=4, num_heads=2)
    head = NextToken(dim=128, vocab_size=2048, weight=network.output_weight)
    whole = nn.ModuleList([network, head])
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(2048, (8, 128))
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        output = head(network({"input_ids": ids}), {"labels": ids})
        (output.loss_sum / output.count).backward()
        optimizer.step()
        optimizer.zero_grad()
        count += 1
    return count / (time.perf_counter() - started)


def measure(rounds: int) -> dict[str, list[float]]:
    """The number that is chosen against torch's own, on a quiet machine and with a neighbour on each core."""
    most = torch_threads()
    if most < 2:
        raise Skipped("more than one core: with one there is nothing to choose")
    found: dict[str, list[float]] = {key: [] for key in BENCHMARK.goals}
    for name in ENVIRONMENT:  # which the driver sets, and which would be obeyed
        os.environ.pop(name, None)
    for _ in range(rounds):
        for key, load in (("quiet", 0), ("busy", most)):
            with neighbours(load):
                choose_threads.cache_clear()
                started = time.perf_counter()
                chosen = choose_threads()
                found["choosing"].append(1000 * (time.perf_counter() - started))
                own = steps_per_second(most, SECONDS)
                ratio = steps_per_second(chosen, SECONDS) / own
            say(f"{load} neighbours: {chosen} of {most} threads, {own:.2f} steps/s with torch's, ratio {ratio:.2f}")
            found[key].append(ratio)
    return found


BENCHMARK = Benchmark(
    name="threads",
    peer="torch's own number of threads",
    measure=measure,
    threads=os.cpu_count() or 1,
    goals={
        "quiet": Goal("steps/s with what trainer.threads=null takes, nobody else computing", 0.95),
        "busy": Goal("the same beside one busy process for each core", 1.0),
        "choosing": Goal("time to choose", 10.0, "at most", "ms"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
