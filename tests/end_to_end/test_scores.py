"""Guards scores that move with how they are computed: rows in a batch, packed or padded, worker processes, precision,
compiled or not. Sums over labels, bytes and texts are counts and must be the same exactly."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from manyheads.data.batches import PackedRows
from manyheads.data.loader import ResumableLoader
from manyheads.data.packing import cut, pack, single
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.lm import LM
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.task.generation import Generation
from manyheads.testing import Rows, byte_tokenizer, tiny_network

# four processes are what is asked for here, whatever the machine has
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")

SIZES = (1, 7, 64)
EITHER = (True, False)
WORKERS = (0, 4)
TOLERANCES = {"32-true": 1e-6, "64-true": 1e-10}
FLOATS = ("loss", "perplexity", "bits_per_byte")


class Scored(NamedTuple):
    """What all batches of a split come to."""

    counts: tuple[float, float, float]  # labels, bytes, right guesses
    loss: float
    texts: dict[int, float]  # the loss of each
    labels: dict[int, int]  # of each text


def scored(task: Generation, module: LM, batch_size: int, packed: bool, workers: int, stride: int | None) -> Scored:
    """The test split through the loader, the network, the head and the metrics."""
    store = task.store("test")
    segments = cut(store.document_starts, task.seq_len, stride)
    rows = pack(segments.length, task.seq_len) if packed else single(segments.length)
    data = PackedRows(store, segments, rows, end_id=task.tokenizer.end_id, scoring=True)
    order = ResumableBatchSampler(len(data), batch_size, seed=1, shuffle=False)
    module.on_test_epoch_start()
    for metric in module.test_metrics.values():
        metric.reset()
    with torch.inference_mode():
        for batch in ResumableLoader(data, order, num_workers=workers):
            module.test_step(batch, 0)
    loss, accuracy, whole = (module.test_metrics[name] for name in ("loss", "accuracy", "bits_per_byte"))
    counts = (loss.count.item(), whole.num_bytes.item(), accuracy.correct.item())
    return Scored(counts, loss.loss_sum.item(), dict(module.examples.loss), dict(module.examples.count))


@pytest.mark.parametrize("workers", [0, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stride", [None, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)], ids=str)
def test_sums_are_the_same_for_every_batch(
    dtype: torch.dtype, tolerance: float, stride: int | None, workers: int, texts: dict[str, list[str]]
) -> None:
    """Beside them stands what can be counted by hand; the first is each window by itself, without a mask."""
    task = Generation(source=Rows(texts), tokenizer=byte_tokenizer(), seed=1, seq_len=16)
    network, head = tiny_network(257)
    module = LM(network=network, head=head, metrics=(Loss, BitsPerByte, Accuracy)).to(dtype).eval()
    alone = scored(task, module, 1, packed=False, workers=0, stride=stride)
    sizes = [len(text.encode()) for text in texts["test"]]
    assert alone.counts[:2] == (sum(sizes) + len(sizes), sum(sizes))
    assert alone.counts[2] > 0
    assert alone.labels == {number: size + 1 for number, size in enumerate(sizes)}
    for size, packed in itertools.product(SIZES, EITHER):
        found = scored(task, module, size, packed, workers, stride)
        assert found.counts == alone.counts, (size, packed)
        assert found.labels == alone.labels
        assert found.loss == pytest.approx(alone.loss, rel=tolerance)
        assert found.texts == pytest.approx(alone.texts, rel=tolerance)


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]


def check_scores(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    for split in ("val", "test"):
        assert found[split].keys() == expected[split].keys() >= set(FLOATS) | {"accuracy"}
        for name in FLOATS:
            assert found[split][name] == pytest.approx(expected[split][name], rel=tolerance)
        assert found[split]["accuracy"] == expected[split]["accuracy"]  # a share of counts


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCES)
def test_every_score_of_a_run_and_of_eval_is_the_same(
    precision: str, cli: Callable[..., Any], tiny: list[str], texts: dict[str, list[str]]
) -> None:
    """With a rate of 0 all runs have the weights that they begin with, so that also pack=true and false compare."""
    words = [*tiny, f"trainer.precision={precision}", "optim=sgd", "optim.lr=0", "trainer.max_steps=1",
             "++callbacks.samples=0"]  # fmt: skip
    sizes = [len(text.encode()) for text in texts["test"]]
    tolerance, runs = TOLERANCES[precision], []
    for size, packed, workers in itertools.product(SIZES, EITHER, WORKERS):
        settings = [f"task.eval_batch_size={size}", f"task.pack={packed}", f"task.num_workers={workers}"]
        done = cli("train", *words, *settings)
        assert done.code == 0, done.err
        runs.append(done)
        check_scores(done.results, runs[0].results, tolerance)
        rows, expected = predictions(done.folder), predictions(runs[0].folder)
        counted = [(row["id"], row["tokens"], row["bytes"]) for row in rows]
        assert counted == [(number, count + 1, count) for number, count in enumerate(sizes)]
        for row, other in zip(rows, expected, strict=True):
            assert row["loss"] == pytest.approx(other["loss"], rel=tolerance)
        assert cli("eval", f"run={runs[0].folder}", *settings, "to=figures.json").code == 0
        check_scores(json.loads(Path("figures.json").read_text()), runs[0].results, tolerance)
        os.remove("figures.json")


@pytest.mark.slow
@pytest.mark.parametrize("size", [7, 64])
def test_compiled_scores_are_those_of_the_network_as_it_is(
    size: int, tiny_trained: Any, cli: Callable[..., Any]
) -> None:
    """torch's own compiler, on this machine."""
    torch._dynamo.reset()
    done = cli("eval", f"run={tiny_trained.folder}", f"task.eval_batch_size={size}", "compile=true", "to=figures.json")
    assert done.code == 0, done.err
    check_scores(json.loads(Path("figures.json").read_text()), tiny_trained.results, 1e-5)
    torch._dynamo.reset()
