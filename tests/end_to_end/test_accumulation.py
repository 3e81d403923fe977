"""Guards the one x-axis, the optimizer step, where epochs do not hold a whole number of steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from manyheads.lm import LM


def test_validations_fall_on_optimizer_steps_over_ragged_epochs(cli: Callable[..., Any], tiny: list[str]) -> None:
    """An epoch's last step has fewer micro-batches, so counting batches would drift away from the steps."""
    words = ["task.batch_size=14", "trainer.accumulate_grad_batches=4", "trainer.max_steps=21", "++callbacks.samples=0"]
    done = cli("train", *tiny, *words, "trainer.val_every_n_steps=5", "trainer.log_every_n_steps=5",
               "++callbacks.save_every_n_steps=7", "++callbacks.keep=null")  # fmt: skip
    assert done.code == 0, done.err
    rows = done.metrics
    assert [row["step"] for row in rows if "val/loss" in row] == [5, 10, 15, 20, 21]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 5, 10, 15, 20, 21]
    assert len(rows) == 6
    saved = sorted(path.name for path in (done.folder / "checkpoints").glob("step_*"))
    assert saved == ["step_00000007.ckpt", "step_00000014.ckpt", "step_00000021.ckpt"]


@pytest.mark.slow
def test_a_stop_at_a_ragged_epochs_end_loses_nothing(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 29 batches here, so 8 steps, the last of a single batch; each of them has its validation."""
    words = [*tiny, "task.batch_size=13", "trainer.accumulate_grad_batches=4", "trainer.max_steps=11",
             "trainer.log_every_n_steps=1", "trainer.val_every_n_steps=4", "++callbacks.samples=0"]  # fmt: skip
    whole = cli("train", *words)
    plain = LM.on_before_optimizer_step
    for step in (3, 8, 9):

        def stop(self: LM, optimizer: Any, at: int = step) -> None:
            plain(self, optimizer)
            if self.steps_done == at:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(LM, "on_before_optimizer_step", stop)
        stopped = cli("train", *words)
        assert stopped.code == 143
        monkeypatch.setattr(LM, "on_before_optimizer_step", plain)
        resumed = cli("train", f"resume={stopped.folder}")
        assert resumed.code == 0, resumed.err
        rows, expected = ([{**row, "perf/tokens_per_sec": 0} for row in run.metrics] for run in (stopped, whole))
        assert rows == expected
