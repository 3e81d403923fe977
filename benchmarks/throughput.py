"""The whole stack (Lightning, callbacks, CSV, W&B offline, live line) over a bare PyTorch loop on the same network and data.

Both are measured in one process; a round is one bare loop and one run.
"""

from __future__ import annotations

from functools import partial

from benchmarks.base import Benchmark, Goal, interleave

LONG_STEPS, SHORT_STEPS = 40, 1_000


def measure(rounds: int) -> dict[str, list[float]]:
    """Tokens/s over the bare loop's, and the milliseconds that a step takes longer."""
    from benchmarks.training import SHORT, bare, long_step, terminal, whole

    with terminal():
        settings = long_step()
        long = interleave(rounds, partial(bare, settings, LONG_STEPS), partial(whole, settings, LONG_STEPS))
        short = interleave(rounds, partial(bare, SHORT, SHORT_STEPS), partial(whole, SHORT, SHORT_STEPS))
    return {
        "long": [loop / run for loop, run in long],
        "long_step": [1e3 * loop for loop, _ in long],
        "short": [1e3 * (run - loop) for loop, run in short],
        "short_step": [1e3 * loop for loop, _ in short],
    }


BENCHMARK = Benchmark(
    name="throughput",
    peer="a bare loop",
    measure=measure,
    goals={
        "long": Goal("whole stack: tokens/s, long step", 0.97, "at least"),
        "short": Goal("whole stack: added to a short step", 1.0, "at most", "ms"),
        "long_step": Goal("bare loop: its long step", unit="ms"),
        "short_step": Goal("bare loop: its short step", unit="ms"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
