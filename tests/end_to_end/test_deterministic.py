"""`deterministic=true`: only algorithms that give the same result each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_on_a_cpu_it_changes_nothing(tiny_trained: Any, tiny: list[str], cli: Callable[..., Any]) -> None:
    """Whose algorithms are such anyway; and a run without it gives them up again."""
    done = cli("train", *tiny, "deterministic=true")
    assert done.code == 0, done.err
    assert torch.are_deterministic_algorithms_enabled()
    ours, theirs = weights(done.folder), weights(tiny_trained.folder)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert cli("train", *tiny, "trainer.max_steps=1").code == 0
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_on_a_gpu_two_runs_are_one(precision: str, tiny: list[str], cli: Callable[..., Any]) -> None:
    words = [*tiny, "trainer=gpu", "trainer.devices=1", f"trainer.precision={precision}", "deterministic=true"]
    words += ["trainer.max_steps=40", "model.dropout=0.1", "task.batch_size=16"]
    first, again = (cli("train", *words) for _ in range(2))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    ours, theirs = weights(first.folder), weights(again.folder)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert first.results["test"] == again.results["test"]
