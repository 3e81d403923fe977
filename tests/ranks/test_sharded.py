"""FSDP2 on several ranks: the numbers of one process, checkpoints that are one whole file, and a part of the memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads

from ..conftest import read_metrics, run_main
from .conftest import Ranked, losses
from .test_resume import same
from .test_training import TOLERANCE

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(300)]

TWO = ["trainer=fsdp", "trainer.devices=2"]
# ragged rows: packing is off
FIFTY = ["model.num_layers=2", "trainer.max_steps=50", "trainer.log_every_n_steps=1", "trainer.val_every_n_steps=25",
         "task.pack=false", "++callbacks.norms_every_n_steps=10"]  # fmt: skip
# within the first epoch, whose last rows several ranks may leave out
SHORT = ["model.num_layers=2", "trainer.max_steps=30", "trainer.log_every_n_steps=1", "trainer.val_every_n_steps=20",
         "++callbacks.save_every_n_steps=15", "++callbacks.keep=null", "++callbacks.samples=0"]  # fmt: skip

WAYS = {
    "32": ["optim=muon", "task.batch_size=2", "trainer.accumulate_grad_batches=2"],
    "64": ["optim=adamw", "task.batch_size=4", "activation_checkpointing=1"],
}
"""By precision."""


def norms(rows: list[dict[str, float]]) -> list[float]:
    return [
        value for row in rows for name, value in row.items() if name.startswith("norms/") or name == "train/grad_norm"
    ]


@pytest.mark.parametrize("precision", WAYS)
def test_the_run_is_that_of_one_process(
    precision: str, tiny: list[str], cli: Callable[..., Any], ranked: Callable[..., Ranked]
) -> None:
    """Losses, norms, texts and scores; then the best checkpoint, which opens on one rank."""
    words, tolerance = [*tiny, *FIFTY, f"trainer.precision={precision}"], TOLERANCE[precision]
    one = cli("train", *words, WAYS[precision][0], "task.batch_size=8")
    two = ranked(*words, *TWO, *WAYS[precision])
    assert len(losses(one.metrics)) == 50
    assert losses(two.metrics) == pytest.approx(losses(one.metrics), rel=tolerance)
    assert len(norms(one.metrics)) > 50
    assert norms(two.metrics) == pytest.approx(norms(one.metrics), rel=1e-4)
    for split in ("val", "test"):
        assert two.results[split] == pytest.approx(one.results[split], rel=10 * tolerance)
    for name in ("tokens_seen", "parameters"):
        assert two.results["run"][name] == one.results["run"][name]
    assert sampled(two.out) == sampled(one.out) != []

    file = two.folder / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    assert {type(value) for value in content["state_dict"].values()} == {torch.Tensor}
    loaded, expected = (manyheads.load(run.folder, device="cpu").score("that it was for you") for run in (two, one))
    assert loaded.loss_sum == pytest.approx(expected.loss_sum, rel=10 * tolerance)
    exported, plain = (sorted(p.name for p in (run.folder / "export").iterdir()) for run in (two, one))
    assert exported == plain
    scored = run_main("eval", f"run={two.folder}", "trainer.strategy=auto", "trainer.devices=1", "to=one.json")
    assert scored.code == 0, scored.err
    for split in ("val", "test"):
        text = f"{two.results[split]['loss']:.4f}"
        assert text in scored.out


def sampled(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.lstrip().startswith(("│", "|"))]


def stopped(whole: Path, place: Path) -> Path:
    """A copy of a run's folder as it was at step 15."""
    shutil.copytree(whole, place)
    (place / "results.json").unlink()
    for name in ("last.ckpt", "best.ckpt"):
        shutil.copyfile(place / "checkpoints" / "step_00000015.ckpt", place / "checkpoints" / name)
    return place


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_goes_on_on_as_many_ranks_or_another_number(
    tiny: list[str], ranked: Callable[..., Ranked], cli: Callable[..., Any], tmp_path: Path
) -> None:
    """On as many to the bit. On others the global batch is the same, and so are the losses."""
    two, one = (tmp_path / name for name in ("two", "one"))
    sharded, plain = [*TWO, "task.batch_size=4"], ["trainer.devices=1", "task.batch_size=8"]
    whole, alone = ranked(*tiny, *SHORT, *sharded), cli("train", *tiny, *SHORT, *plain)
    assert alone.code == 0, alone.err
    assert losses(whole.metrics) == pytest.approx(losses(alone.metrics), rel=1e-5)

    same_number = stopped(whole.folder, two / "same")
    ranked(f"resume={same_number}")
    assert [same(row) for row in read_metrics(same_number)] == [same(row) for row in whole.metrics]
    found, expected = weights(same_number), weights(whole.folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    fewer = stopped(whole.folder, two / "fewer")
    done = cli("train", f"resume={fewer}", "trainer.strategy=auto", *plain)
    assert done.code == 0, done.err
    more = stopped(alone.folder, one / "more")
    ranked(f"resume={more}", "trainer.strategy=fsdp", *sharded[1:])
    for folder in (fewer, more):
        assert losses(read_metrics(folder)) == pytest.approx(losses(alone.metrics), rel=1e-5)


def test_a_sharded_checkpoint_is_refused(
    tiny: list[str], cli: Callable[..., Any], tiny_trained: Any, tmp_path: Path
) -> None:
    """A folder with a pickle in it, in the place of a checkpoint."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_trained.folder, folder)
    for name in ("last.ckpt", "best.ckpt"):
        (folder / "checkpoints" / name).unlink()
        (folder / "checkpoints" / name).mkdir()
        (folder / "checkpoints" / name / ".metadata").write_bytes(b"cos\nsystem\n(S'touch planted'\ntR.")
    told = "is a folder: a sharded checkpoint is not read, since its .metadata is a pickle, which could run code."
    for words in (["train", f"resume={folder}", "trainer.max_steps=9"], ["eval", f"run={folder}"]):
        refused = cli(*words)
        assert refused.code == 1
        assert told in refused.err
    assert not (tmp_path / "planted").exists()
