"""model=ngram: megabytes of text counted in a second, beside a Counter over tuples, the plain way in Python."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.base import Benchmark, Goal, interleave

ORDERS = {"bpe": 5, "byte": 5, "byte, order 11": 11}
SEQ_LEN, ROWS = 1024, 16


def measure(rounds: int) -> dict[str, list[float]]:
    """MB/s over the whole of pydocs' train split, from cached tokens to sorted counts."""
    found: dict[str, list[float]] = {}
    for name, order in ORDERS.items():
        network, plain, megabytes = _prepared(name.partition(",")[0], order)
        times = interleave(rounds, lambda run=network: _timed(run), lambda run=plain: _timed(run))
        found[name] = [megabytes / own for own, _ in times]
        found[f"{name}, ratio"] = [other / own for own, other in times]
    return found


def _prepared(tokenizer: str, order: int) -> tuple[Callable[[], Any], Callable[[], Any], float]:
    """What counts in our way and in the plain one, and the megabytes that they count."""
    import numpy as np

    from manyheads.build import CONF_DIR, build
    from manyheads.data.batches import PackedRows
    from manyheads.data.loader import ResumableLoader
    from manyheads.data.packing import cut, pack
    from manyheads.data.sampler import ResumableBatchSampler
    from manyheads.data.store import tokenize
    from manyheads.model.ngram import NGram
    from manyheads.run.compose import compose

    cfg = compose("train", [f"tokenizer={tokenizer}"], CONF_DIR).config
    source = build(cfg.data, "data")
    made = build(cfg.tokenizer, "tokenizer", source=source)
    store = tokenize(source, "train", made)
    segments = cut(store.document_starts, SEQ_LEN)
    rows = PackedRows(store, segments, pack(segments.length, SEQ_LEN), end_id=made.end_id, scoring=False)
    documents = [np.array(part).tolist() for part in np.split(store.tokens, store.document_starts[1:-1])]

    def ours() -> None:
        network = NGram(vocab_size=made.vocab_size, order=order)
        for batch in ResumableLoader(rows, ResumableBatchSampler(len(rows), ROWS, seed=1, shuffle=True)):
            network.count(batch)
        network.share()

    def grams() -> Iterator[tuple[int, ...]]:
        for ids in documents:
            padded = [made.end_id] * (order - 1) + ids
            yield from zip(*(padded[i:] for i in range(order)), strict=False)

    return ours, lambda: Counter(grams()), store.num_bytes / 1e6


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


BENCHMARK = Benchmark(
    name="counting",
    peer="a Counter of tuples",
    measure=measure,
    goals={
        goal: each
        for name, order in ORDERS.items()
        for goal, each in {
            name: Goal(f"n-grams of {name.partition(',')[0]}, order {order}, counted", 1.0, unit="MB/s"),
            f"{name}, ratio": Goal(f"n-grams of {name.partition(',')[0]}, order {order}"),
        }.items()
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
