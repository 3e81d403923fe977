from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.rng import RngState, rng_state, set_rng_state


def draw() -> tuple[float, float, float]:
    np.random.normal()  # leaves a second normal draw waiting in numpy's state
    return random.random(), float(np.random.normal()), float(torch.rand(()))


def test_every_generator_goes_on_where_it_was() -> None:
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    np.random.normal()
    file = io.BytesIO()
    torch.save(rng_state(), file)
    expected = [draw() for _ in range(3)]
    file.seek(0)
    set_rng_state(torch.load(file, weights_only=True))
    assert [draw() for _ in range(3)] == expected


@pytest.mark.parametrize("stop", [4, 5])
def test_a_resumed_run_draws_what_the_whole_run_would_have(fit: Any, tiny: Any, tmp_path: Path, stop: int) -> None:
    # guards: states taken up too early, before data loaders draw their seeds. 4 is saved by a validation, 5 by a step.
    def run(steps: int, name: str, resume: Path | None = None, seed: int = 7) -> tuple[pl.LightningModule, Path]:
        folder = tmp_path / name
        saver = RunCheckpoint(
            folder=folder, monitor="val/loss", higher_is_better=False, save_every_n_steps=5, keep=None
        )
        torch.manual_seed(seed)
        lm = tiny()
        if resume:
            torch.manual_seed(999)
        fit(lm, [RngState(), saver], max_steps=steps, val_check_interval=4, resume=resume)
        return lm, folder

    whole, _ = run(8, "whole")
    _, part_folder = run(stop, "part")
    part, _ = run(8, "resumed", part_folder / "last.ckpt")
    assert part.draws == whole.draws[stop:]
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, part.state_dict()[name])


def test_a_rank_that_the_checkpoint_does_not_know_keeps_its_own(fit: Any, tiny: Any) -> None:
    rng = RngState()
    rng.load_state_dict({"ranks": []})
    torch.manual_seed(5)
    expected = torch.rand(())
    torch.manual_seed(5)
    rng.on_train_start(None, None)  # type: ignore[arg-type]
    assert torch.equal(torch.rand(()), expected)
