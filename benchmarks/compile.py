"""torch.compile of each block against that of the whole network: seconds until the first step is done, and of a step.

    python -m benchmarks.compile [ROUNDS [LAYERS [STEPS]]]

Each is measured in a new process with an empty cache, in turn, with the real inductor; "eager" compiles nothing. A step is
forward and backward of 8 x 64 tokens at width 128.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

WAYS = ("eager", "blocks", "whole")


def one(way: str, layers: int, steps: int) -> tuple[float, float]:
    """(seconds until the first step is done, median milliseconds of the steps after it)."""
    import torch

    from manyheads.head.next_token import NextToken
    from manyheads.model.decoder import Decoder
    from manyheads.model.regions import compile_blocks

    torch.manual_seed(1)
    network = Decoder(vocab_size=512, dim=128, num_layers=layers, num_heads=4)
    head = NextToken(dim=128, vocab_size=512, weight=network.output_weight)
    {"eager": lambda network: None, "blocks": compile_blocks, "whole": lambda network: network.compile()}[way](network)
    ids = torch.randint(512, (8, 64))
    times = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        head(network({"input_ids": ids}), {"input_ids": ids, "labels": ids}).loss_sum.backward()
        times.append(time.perf_counter() - started)
    return times[0], 1000 * statistics.median(times[1:])


def main(rounds: int = 3, layers: int = 6, steps: int = 30) -> None:
    """Prints the median of each way and the ratios to compiling the whole."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as cache:
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.compile", way, str(layers), str(steps)],
                    env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}, capture_output=True, text=True, check=True,
                )  # fmt: skip
            found[way].append(tuple(float(word) for word in done.stdout.split()))  # type: ignore[arg-type]
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (first, step) in medians.items():
        print(f"{way}: {first:.1f} s to the first step, {step:.1f} ms a step, {layers} layers, {rounds} rounds")
    first, step = (medians["blocks"][i] / medians["whole"][i] for i in (0, 1))
    print(f"blocks over whole: {first:.2f} of the time to the first step, {step:.2f} of the time of a step")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        print(*one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        main(*(int(word) for word in sys.argv[1:]))
