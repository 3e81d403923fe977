"""From texts to rows ready to train on, over the bare tokenizer and over run_clm's two maps, and a second start.

The two maps are those of the language modelling example of `transformers`, as its documentation tells them: one
tokenizes, batched, without the text column; one joins the tokens of each thousand rows, cuts them into blocks and
drops the rest. Their cache is an empty folder each time, and so is ours; both read the texts from the same files first.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.base import Benchmark, Goal, interleave, peer
from manyheads.data.source import Source

BLOCK = 256
AGAIN = """
import time
import manyheads.train
from manyheads.build import CONF_DIR, build
from manyheads.run.compose import compose
cfg = compose("train", [], CONF_DIR).config
started = time.perf_counter()
source = build(cfg.data, "data")
tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
task = build(cfg.task, "task", source=source, tokenizer=tokenizer, seed=1)
task.prepare()
next(iter(task.train_dataloader()))
print(time.perf_counter() - started)
"""
"""A second start: data, tokenizer and tokens from the cache, up to the first batch; imports apart."""


def measure(rounds: int) -> dict[str, list[float]]:
    """Rows/s over each peer's, and the seconds of a second start."""
    import datasets

    from manyheads.build import CONF_DIR, build
    from manyheads.data.packing import cut, pack
    from manyheads.data.store import tokenize
    from manyheads.run.compose import compose

    transformers = peer("transformers")
    cfg = compose("train", [], CONF_DIR).config
    source = build(cfg.data, "data")
    tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
    texts = _texts(source)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend)
    datasets.disable_progress_bars()

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder, _cache(folder):
            started = time.perf_counter()
            store = tokenize(source, "train", tokenizer)
            segments = cut(store.document_starts, BLOCK)
            pack(segments.length, BLOCK)
            return time.perf_counter() - started

    def raw() -> float:
        started = time.perf_counter()
        tokenizer.backend.encode_batch(texts, add_special_tokens=False)
        return time.perf_counter() - started

    def maps() -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            table = datasets.Dataset.from_dict({"text": _texts(source)})
            tokens = table.map(
                lambda rows: fast(rows["text"]),
                batched=True,
                remove_columns=["text"],
                cache_file_name=f"{folder}/tokens.arrow",
            )
            tokens.map(_blocks, batched=True, cache_file_name=f"{folder}/blocks.arrow")
            return time.perf_counter() - started

    times = interleave(rounds, ours, raw, maps)
    again = interleave(rounds, _second_start)
    return {
        "raw": [bare / own for own, bare, _ in times],
        "maps": [mapped / own for own, _, mapped in times],
        "again": [seconds for (seconds,) in again],
    }


def _texts(source: Source) -> list[str]:
    return [text for part, _ in source.pieces("train") for text in part]


def _blocks(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    joined = {name: list(itertools.chain.from_iterable(lists)) for name, lists in rows.items()}
    end = len(joined["input_ids"]) // BLOCK * BLOCK
    cut = {name: [values[i : i + BLOCK] for i in range(0, end, BLOCK)] for name, values in joined.items()}
    return {**cut, "labels": [list(block) for block in cut["input_ids"]]}


class _cache:
    """The cache in a folder meanwhile."""

    def __init__(self, folder: str) -> None:
        self.folder, self.before = folder, os.environ.get("MANYHEADS_CACHE")

    def __enter__(self) -> None:
        os.environ["MANYHEADS_CACHE"] = self.folder

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["MANYHEADS_CACHE"]
        else:
            os.environ["MANYHEADS_CACHE"] = self.before


def _second_start() -> float:
    done = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True, cwd=Path.cwd())
    return float(done.stdout)


BENCHMARK = Benchmark(
    name="preprocessing",
    peer="tokenizers, datasets",
    measure=measure,
    threads=2,
    goals={
        "raw": Goal("texts to packed rows, over encode_batch alone", 0.8),
        "maps": Goal("texts to packed rows, over run_clm's two maps", 2.0),
        "again": Goal("a second start, cached: added", 0.1, "at most", "s"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
