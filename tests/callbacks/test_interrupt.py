from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.checkpoint_io import read_checkpoint
from manyheads.callbacks.interrupt import SIGNALS, Interrupt, resume_command
from manyheads.errors import Interrupted


def make(folder: Path) -> list[Any]:
    saver = RunCheckpoint(folder=folder, monitor="val/loss", higher_is_better=False)
    return [saver, Interrupt(checkpoint=saver, resume="GO ON")]


def send(signum: int, at: int) -> Any:
    return lambda batch: os.kill(os.getpid(), signum) if batch == at else None


def last_step(folder: Path) -> int:
    return read_checkpoint(folder / "last.ckpt")["global_step"]


@pytest.mark.parametrize(
    ("signum", "name", "code"),
    [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143), (signal.SIGUSR1, "SIGUSR1", 138)],
)
def test_the_step_is_finished_and_saved(
    fit: Any, tiny: Any, tmp_path: Path, capfd: Any, signum: int, name: str, code: int
) -> None:
    # guards: Lightning's own ends, SystemExit(1) for SIGINT and SystemExit(0) for SIGTERM, and handlers left behind
    before = [signal.getsignal(each) for each in SIGNALS]
    lm = tiny(on_step=send(signum, at=4))
    with pytest.raises(Interrupted) as caught:
        fit(lm, make(tmp_path), max_steps=9, accumulate_grad_batches=3, limit_val_batches=0)
    assert str(caught.value) == f"Stopped by {name} after step 2, saved. Go on with: GO ON"
    assert caught.value.exit_code == code
    assert last_step(tmp_path) == 2
    assert len(lm.draws) == 6
    assert f"{name}: saving at the end of this step" in capfd.readouterr().err
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_validation_is_finished_first(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: a checkpoint from the middle of a validation, whose other half would be lost on resume
    seen: list[int] = []

    def on_val(batch: int) -> None:
        seen.append(batch)
        send(signal.SIGTERM, at=0)(batch)

    with pytest.raises(Interrupted, match="after step 2, saved"):
        fit(tiny(on_val_batch=on_val, scores=[3.0]), make(tmp_path), max_steps=9, val_check_interval=2)
    assert seen == [0, 1]
    state = read_checkpoint(tmp_path / "last.ckpt")["callbacks"]["RunCheckpoint"]
    assert (state["scores"], state["steps"]) == ([6.0], [2])


def test_the_last_step_has_its_validation(fit: Any, tiny: Any, tmp_path: Path) -> None:
    lm = tiny(on_step=send(signal.SIGTERM, at=3), scores=[3.0])
    with pytest.raises(Interrupted, match="after step 4, saved"):
        fit(lm, make(tmp_path), max_steps=4, val_check_interval=4)
    assert lm.scores == []
    assert last_step(tmp_path) == 4


def test_an_interrupted_run_goes_on_to_the_same_end(fit: Any, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(tiny(on_step=send(signal.SIGINT, at=2)), make(tmp_path), max_steps=6, limit_val_batches=0)
    lm = tiny()
    trainer = fit(lm, make(tmp_path), max_steps=6, limit_val_batches=0, resume=tmp_path / "last.ckpt")
    assert (trainer.global_step, len(lm.draws), last_step(tmp_path)) == (6, 3, 6)


def test_a_second_signal_leaves_at_once(fit: Any, tiny: Any, tmp_path: Path) -> None:
    def twice(batch: int) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            signal.getsignal(signal.SIGINT)  # handlers run between two instructions

    lm = tiny(on_step=twice)
    with pytest.raises(Interrupted, match="at once, without saving") as caught:
        fit(lm, make(tmp_path), max_steps=9, limit_val_batches=0)
    assert caught.value.exit_code == 130
    assert not (tmp_path / "last.ckpt").exists()


def test_a_test_ends_at_the_next_batch(fit: Any, tiny: Any, tmp_path: Path) -> None:
    seen: list[int] = []

    def on_batch(batch: int) -> None:
        seen.append(batch)
        send(signal.SIGTERM, at=0)(batch)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="while scoring") as caught:
        fit(tiny(on_val_batch=on_batch), make(tmp_path), test=True)
    assert (caught.value.exit_code, seen) == (143, [0])
    assert signal.getsignal(signal.SIGTERM) is before


def test_handlers_come_back_after_a_whole_run(fit: Any, tiny: Any, tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    fit(tiny(), make(tmp_path), max_steps=2, limit_val_batches=0)
    fit(tiny(), make(tmp_path), test=True)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_run_that_its_budget_ends_has_its_validation(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # a run that stops itself is told in the module's hook, after the callbacks', so the signal comes first
    class Full(tiny):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = batch_idx == 3

    lm = Full(on_val_batch=send(signal.SIGTERM, at=0), scores=[3.0])
    with pytest.raises(Interrupted, match="after step 4, saved"):
        fit(lm, make(tmp_path), max_steps=9, val_check_interval=9)
    assert lm.scores == []


def test_ranks_leave_together(tmp_path: Path) -> None:
    # guards: one rank saving alone, which hangs the others: the number is the highest of all ranks'
    class Strategy:
        root_device = "cpu"

        def reduce(self, number: Any, reduce_op: str) -> Any:
            assert reduce_op == "max"
            return number + 15

    class Trainer:
        world_size, strategy = 2, Strategy()

    interrupt = make(tmp_path)[1]
    assert interrupt._told(Trainer())
    assert interrupt.signum == 15


def test_the_command_is_relative_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert resume_command(tmp_path / "here" / "runs" / "a") == "manyheads train resume=runs/a"
    assert resume_command(tmp_path / "b") == f"manyheads train resume={tmp_path / 'b'}"


def test_a_step_that_a_validation_follows_has_it_first(fit: Any, tiny: Any, tmp_path: Path) -> None:
    """Guards against a hole in the log. The step is saved before it, with a note that its validation is owed."""
    saved: list[bool] = []
    owed: list[bool] = []

    def look(batch: int) -> None:
        saved.append((tmp_path / "last.ckpt").exists())
        owed.append(read_checkpoint(tmp_path / "last.ckpt")["callbacks"]["RunCheckpoint"]["validation_owed"])

    lm = tiny(
        on_step=send(signal.SIGTERM, at=3),
        on_val_batch=look,
        scores=[3.0],
    )
    with pytest.raises(Interrupted, match="after step 4, saved"):
        fit(lm, make(tmp_path), max_steps=9, val_check_interval=4)
    assert saved == [True, True]
    assert owed == [True, True]
    assert lm.scores == []
    state = read_checkpoint(tmp_path / "last.ckpt")["callbacks"]["RunCheckpoint"]
    assert (state["steps"], state["validation_owed"]) == ([4], False)
