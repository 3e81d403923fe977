"""A batch of 12 rows of 64 tokens from cached data, beside a map-style data set whose rows a collator puts together."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from benchmarks.base import Benchmark, Goal, interleave

ROWS, WIDTH, BATCHES = 12, 64, 400


def measure(rounds: int) -> dict[str, list[float]]:
    """Microseconds per batch, with every row of data and order as in training."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    from manyheads.build import CONF_DIR, build
    from manyheads.data.batches import PackedRows
    from manyheads.data.loader import ResumableLoader
    from manyheads.data.packing import cut, pack
    from manyheads.data.sampler import ResumableBatchSampler
    from manyheads.data.store import tokenize
    from manyheads.run.compose import compose

    cfg = compose("train", [], CONF_DIR).config
    source = build(cfg.data, "data")
    tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
    store = tokenize(source, "train", tokenizer)
    segments = cut(store.document_starts, WIDTH)
    rows = PackedRows(store, segments, pack(segments.length, WIDTH), end_id=tokenizer.end_id, scoring=False)
    tokens = np.array(store.tokens)

    class Mapped(Dataset[dict[str, Any]]):
        """Windows of the same tokens, a row at a time."""

        def __len__(self) -> int:
            return (len(tokens) - 1) // WIDTH

        def __getitem__(self, index: int) -> dict[str, Any]:
            window = torch.from_numpy(tokens[index * WIDTH : (index + 1) * WIDTH + 1].astype(np.int64))
            return {
                "input_ids": window[:-1],
                "labels": window[1:],
                "positions": torch.arange(WIDTH),
                "segments": torch.ones(WIDTH, dtype=torch.int64),
            }

    def ours() -> float:
        order = ResumableBatchSampler(len(rows), ROWS, seed=1, shuffle=True)
        return _each(ResumableLoader(rows, order))

    def mapped() -> float:
        return _each(DataLoader(Mapped(), batch_size=ROWS, shuffle=True))

    times = interleave(rounds, ours, mapped)
    return {"batch": [own for own, _ in times], "ratio": [other / own for own, other in times]}


def _each(loader: Iterable[Any]) -> float:
    batches = iter(loader)
    next(batches)  # the order is made before the first
    started = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    return 1e6 * (time.perf_counter() - started) / BATCHES


BENCHMARK = Benchmark(
    name="batches",
    peer="map-style data set and collator",
    measure=measure,
    goals={
        "batch": Goal(f"a batch of {ROWS} x {WIDTH} from cached data", 150, "at most", "us"),
        "ratio": Goal(f"batches/s, {ROWS} x {WIDTH}"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
