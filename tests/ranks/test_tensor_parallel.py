"""Tensor parallelism on several ranks: the numbers of one process, checkpoints that are one whole file, and eval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads

from ..conftest import read_metrics
from .conftest import ROOT, Ranked, losses
from .test_resume import same
from .test_sharded import SHORT, norms, sampled, stopped, weights
from .test_training import TOLERANCE

pytestmark = pytest.mark.timeout(300)

TWO = ["trainer=tensor_parallel", "trainer.devices=2"]
# ragged rows: packing is off; most steps are clipped
STEPS = ["model.num_layers=2", "trainer.max_steps=20", "trainer.log_every_n_steps=1", "trainer.val_every_n_steps=10",
         "task.pack=false", "trainer.gradient_clip_val=0.3", "++callbacks.norms_every_n_steps=5"]  # fmt: skip

NETWORKS = {
    "32": ["optim=muon"],
    "64": ["optim=adamw", "++model.bias=true", "++model.norm=layernorm", "++model.tie_embeddings=false",
           "++model.qk_norm=true"],
}  # fmt: skip
"""By precision."""
WAYS = {
    "32": ["task.batch_size=8"],
    "64": ["task.batch_size=4", "trainer.accumulate_grad_batches=2", "activation_checkpointing=1"],
}
EVAL = (str(ROOT / "eval.py"),)


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]


def check_same_run(two: Ranked, one: Any, tolerance: float) -> None:
    """Losses, norms, scores and counts."""
    assert losses(two.metrics) == pytest.approx(losses(one.metrics), rel=tolerance)
    assert norms(two.metrics) == pytest.approx(norms(one.metrics), rel=1e-4)
    for split in ("val", "test"):
        assert two.results[split] == pytest.approx(one.results[split], rel=10 * tolerance)
    for name in ("tokens_seen", "parameters"):
        assert two.results["run"][name] == one.results["run"][name]


@pytest.mark.parametrize(
    "precision", [pytest.param("32", marks=pytest.mark.slow), pytest.param("64", marks=pytest.mark.ddp)]
)
def test_the_run_is_that_of_one_process(
    precision: str, tiny: list[str], cli: Callable[..., Any], ranked: Callable[..., Ranked], tmp_path: Path
) -> None:
    """Then the best checkpoint opens on one rank, and two ranks score it alike."""
    words, tolerance = [*tiny, *STEPS, *NETWORKS[precision], f"trainer.precision={precision}"], TOLERANCE[precision]
    one, two = cli("train", *words, "task.batch_size=8"), ranked(*words, *TWO, *WAYS[precision])
    assert one.code == 0, one.err
    assert len(losses(one.metrics)) == 20
    check_same_run(two, one, tolerance)
    assert sampled(two.out) == sampled(one.out) != []
    assert "in a batch of 2 devices together" in " ".join(two.out.split())
    mine, theirs = predictions(one.folder), predictions(two.folder)
    assert [row["id"] for row in theirs] == [row["id"] for row in mine]
    assert [row["tokens"] for row in theirs] == [row["tokens"] for row in mine]

    content = torch.load(two.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert {type(value) for value in content["state_dict"].values()} == {torch.Tensor}
    loaded, expected = (manyheads.load(run.folder, device="cpu").score("that it was for you") for run in (two, one))
    assert loaded.loss_sum == pytest.approx(expected.loss_sum, rel=10 * tolerance)
    scored = ranked(f"run={two.folder}", "to=two.json", command=EVAL)
    found = json.loads((scored.place / "two.json").read_text(encoding="utf-8"))
    for split in ("val", "test"):
        assert found[split] == pytest.approx(two.results[split], rel=10 * tolerance)


@pytest.mark.slow
def test_two_pairs_read_different_rows(tiny: list[str], cli: Callable[..., Any], ranked: Callable[..., Ranked]) -> None:
    """Data-parallel pairs: 13 test texts on 2 pairs of ranks are scored once each."""
    words = [*tiny, *STEPS, "trainer.precision=64", "optim=adamw", "task.eval_batch_size=2"]
    one = cli("train", *words, "task.batch_size=8")
    assert one.code == 0, one.err
    pairs = ["trainer.devices=4", "+trainer.strategy_options.tensor_parallel_size=2", "task.batch_size=4"]
    two = ranked(*words, *TWO, *pairs)
    check_same_run(two, one, TOLERANCE["64"])
    assert "4 in a batch of each of 2 groups of 2 devices" in " ".join(two.out.split())
    mine, theirs = predictions(one.folder), predictions(two.folder)
    assert [row["id"] for row in theirs] == [row["id"] for row in mine]
    assert [row["loss"] for row in theirs] == pytest.approx([row["loss"] for row in mine], rel=1e-9)


@pytest.mark.ddp
def test_a_run_goes_on_on_as_many_ranks_or_another_number(
    tiny: list[str], ranked: Callable[..., Ranked], cli: Callable[..., Any], tmp_path: Path
) -> None:
    """On as many to the bit. On others the losses are the same. A group of AdamW's here holds parts and whole tensors."""
    two, one = (tmp_path / name for name in ("two", "one"))
    words = [*tiny, *SHORT, "task.batch_size=8", "optim=adamw", "++model.tie_embeddings=false"]
    whole, alone = ranked(*words, *TWO), cli("train", *words)
    assert alone.code == 0, alone.err
    assert losses(whole.metrics) == pytest.approx(losses(alone.metrics), rel=1e-5)

    same_number = stopped(whole.folder, two / "same")
    ranked(f"resume={same_number}")
    assert [same(row) for row in read_metrics(same_number)] == [same(row) for row in whole.metrics]
    found, expected = weights(same_number), weights(whole.folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    fewer = stopped(whole.folder, two / "fewer")
    done = cli("train", f"resume={fewer}", "trainer.devices=1")
    assert done.code == 0, done.err
    more = stopped(alone.folder, one / "more")
    ranked(f"resume={more}", "trainer.strategy=tensor_parallel", "trainer.devices=2")
    for folder in (fewer, more):
        assert losses(read_metrics(folder)) == pytest.approx(losses(alone.metrics), rel=1e-5)


@pytest.mark.ddp
def test_a_network_that_does_not_divide_is_refused_once_and_leaves_no_folder(
    tiny: list[str], start: Callable[..., Ranked]
) -> None:
    run = start(*tiny, *TWO, "++model.num_kv_heads=1")
    assert run.wait() == 1
    assert run.err.count("error:") == 1
    assert (
        "model.num_kv_heads=1 is no multiple of 2, the ranks of tensor parallelism. Set model.num_kv_heads=2" in run.err
    )
    assert not list(run.place.glob("outputs/runs/*"))
