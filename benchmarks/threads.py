"""Numbers of threads on a machine that others use: training steps per second, and what `trainer.threads=null` would take.

    python -m benchmarks.threads [ROUNDS [SECONDS [NEIGHBOURS ...]]]

For each number of neighbours (processes that multiply matrices with one thread each) the network of model=tiny is trained
on 8 x 128 tokens with each count of threads in turn, SECONDS for each in each round.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from torch import nn

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.threads import busy_neighbours, choose_threads, cores_allowed, torch_threads

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


def main(rounds: int = 3, seconds: float = 4.0, *loads: int) -> None:
    """Prints a line for each number of neighbours."""
    most = torch_threads()
    counts = sorted({1, max(1, most // 2), most})
    print(f"{most} threads are torch's own, {cores_allowed()} cores, {busy_neighbours()} threads of others computing")
    for load in loads or (0, 1, most):
        found: dict[int, list[float]] = {count: [] for count in counts}
        chosen, took = [], []
        with neighbours(load):
            for _ in range(rounds):
                for count in counts:
                    found[count].append(steps_per_second(count, seconds))
                choose_threads.cache_clear()
                started = time.perf_counter()
                chosen.append(choose_threads())
                took.append(time.perf_counter() - started)
        rates = ", ".join(
            f"{count} threads {statistics.median(rates):.2f} steps/s ({min(rates):.2f} to {max(rates):.2f})"
            for count, rates in found.items()
        )
        print(f"{load} neighbours: {rates}; chosen {chosen} in {1000 * max(took):.0f} ms at most", flush=True)


if __name__ == "__main__":
    main(*(float(word) if "." in word else int(word) for word in sys.argv[1:]))  # type: ignore[arg-type]
