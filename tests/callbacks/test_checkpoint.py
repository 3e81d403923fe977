from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.callbacks import checkpoint as module
from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.checkpoint_io import read_checkpoint

NAN = float("nan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def make(folder: Path, **options: Any) -> RunCheckpoint:
    settings: dict[str, Any] = {"monitor": "val/bits_per_byte", "higher_is_better": False, **options}
    return RunCheckpoint(folder=folder, **settings)


def steps(folder: Path) -> dict[str, int]:
    return {path.name: read_checkpoint(path)["global_step"] for path in folder.iterdir()}


def test_the_best_are_ranked_and_each_file_holds_its_own_step(fit: Any, tiny: Any, folder: Path) -> None:
    # guards: files shifted in the wrong order, a tie or a NaN taking a place
    saver = make(folder, save_best=3)
    fit(tiny(scores=[4.0, 2.0, NAN, 3.0, 2.0, 9.0]), [saver], max_steps=12, val_check_interval=2)
    assert (saver.scores, saver.steps) == ([2.0, 2.0, 3.0], [4, 10, 8])
    assert steps(folder) == {"best.ckpt": 4, "best-2.ckpt": 10, "best-3.ckpt": 8, "last.ckpt": 12}


def test_the_direction_is_the_metrics(fit: Any, tiny: Any, folder: Path) -> None:
    saver = make(folder, higher_is_better=True)
    fit(tiny(scores=[1.0, 3.0, 2.0]), [saver], max_steps=6, val_check_interval=2)
    assert steps(folder) == {"best.ckpt": 4, "last.ckpt": 6}
    assert saver.scores[0] == 3.0


def test_a_file_system_without_links_gets_copies(
    fit: Any, tiny: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    fit(tiny(scores=[3.0, 2.0, 4.0]), [make(folder, save_best=2)], max_steps=6, val_check_interval=2)
    assert steps(folder) == {"best.ckpt": 4, "best-2.ckpt": 2, "last.ckpt": 6}


def test_best_is_there_at_every_moment(fit: Any, tiny: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # guards: a crash between two renames that leaves a run without its best checkpoint
    moments: list[bool] = []
    replace = os.replace

    def watched(source: Any, target: Any) -> None:
        moments.append((folder / "best.ckpt").exists())
        replace(source, target)
        moments.append((folder / "best.ckpt").exists())

    monkeypatch.setattr(module.os, "replace", watched)
    fit(tiny(scores=[3.0, 2.0, 1.0]), [make(folder, save_best=2)], max_steps=6, val_check_interval=2)
    # the first validation writes last, then best; from there on it is never missing
    assert moments[:4] == [False, False, False, True]
    assert len(moments) > 12
    assert all(moments[4:])


def test_step_files_are_pruned_and_last_is_never_older(fit: Any, tiny: Any, folder: Path) -> None:
    saver = make(folder, save_every_n_steps=2, keep=2)
    fit(tiny(), [saver], max_steps=7, limit_val_batches=0)
    assert steps(folder) == {"step_00000004.ckpt": 4, "step_00000006.ckpt": 6, "last.ckpt": 7, "best.ckpt": 7}


def test_all_step_files_stay_when_asked(fit: Any, tiny: Any, folder: Path) -> None:
    fit(tiny(), [make(folder, save_every_n_steps=1, keep=None)], max_steps=3, limit_val_batches=0)
    assert [name for name in sorted(steps(folder)) if name.startswith("step")] == [
        f"step_0000000{n}.ckpt" for n in (1, 2, 3)
    ]


def test_last_is_written_again_when_a_validation_fell_into_a_step(fit: Any, tiny: Any, folder: Path) -> None:
    # guards: last.ckpt in the middle of an accumulation, which loses the pending gradients on resume
    class Stop(Exception):
        pass

    def stop(batch: int) -> None:
        if batch == 4:
            raise Stop

    with pytest.raises(Stop):
        fit(tiny(on_step=stop), [make(folder)], max_steps=9, accumulate_grad_batches=4, val_check_interval=2)
    progress = read_checkpoint(folder / "last.ckpt")["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"]["ready"] == 4
    assert steps(folder) == {"last.ckpt": 1, "best.ckpt": 0}


def test_a_resumed_run_takes_up_the_best_list(fit: Any, tiny: Any, folder: Path) -> None:
    # guards: a worse checkpoint taking best.ckpt's place after a resume
    fit(tiny(scores=[2.0]), [make(folder)], max_steps=2, val_check_interval=2)
    saver = make(folder)
    fit(tiny(scores=[3.0]), [saver], max_steps=4, val_check_interval=2, resume=folder / "last.ckpt")
    assert (saver.scores, saver.steps) == ([2.0], [2])
    assert steps(folder) == {"best.ckpt": 2, "last.ckpt": 4}


def test_what_is_remembered_holds_no_path(fit: Any, tiny: Any, folder: Path, tmp_path: Path) -> None:
    # guards: a run folder that can only be resumed where it was made
    fit(tiny(scores=[2.0]), [make(folder)], max_steps=2, val_check_interval=2)
    read = read_checkpoint(folder / "last.ckpt")
    best = {"monitor": "val/bits_per_byte", "scores": [2.0], "steps": [2]}
    assert read["callbacks"] == {"RunCheckpoint": {**best, "validation_owed": False}}
    assert str(tmp_path) not in repr({name: value for name, value in read.items() if name != "state_dict"})


def test_another_monitor_or_missing_files_start_the_list_anew(folder: Path) -> None:
    state = {"monitor": "val/bits_per_byte", "scores": [1.0, 2.0], "steps": [4, 2]}
    folder.mkdir()
    torch.save({}, folder / "best.ckpt")
    saver, other = make(folder, save_best=2), make(folder, monitor="val/loss")
    saver.load_state_dict(state)
    other.load_state_dict(state)
    assert (saver.scores, saver.steps, other.scores) == ([1.0], [4], [])


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_names_that_a_kill_has_cut_off_are_given_on_resume(
    fit: Any, tiny: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Guards: best.ckpt of an older step than the scores say, when a process dies after the save and before its names."""

    class Killed(BaseException):
        pass

    def cut_off(source: Path, target: Path) -> None:
        if len(given) == renames:
            raise Killed
        given.append(target)
        link(source, target)

    given: list[Path] = []
    link = module._link
    options: dict[str, Any] = {"save_best": 3}
    fit(tiny(scores=[4.0, 3.0, 2.0]), [make(folder, **options)], max_steps=6, val_check_interval=2)
    assert steps(folder) == {"best.ckpt": 6, "best-2.ckpt": 4, "best-3.ckpt": 2, "last.ckpt": 6}
    monkeypatch.setattr(module, "_link", cut_off)
    with pytest.raises(Killed):
        fit(tiny(scores=[1.0, 0.0]), [make(folder, **options)], max_steps=10, val_check_interval=2,
            resume=folder / "last.ckpt")  # fmt: skip
    monkeypatch.setattr(module, "_link", link)
    saver = make(folder, **options)
    fit(tiny(scores=[9.0]), [saver], max_steps=12, val_check_interval=20, resume=folder / "last.ckpt")
    assert saver.steps == ([10, 8, 6] if renames == 3 else [8, 6, 4])
    assert [steps(folder)[module.best_name(place)] for place in range(3)] == saver.steps


def test_a_save_that_falls_on_a_validation_is_made_after_it(fit: Any, tiny: Any, folder: Path) -> None:
    """Guards: a checkpoint that lacks the scores of its own step, for which a resumed run would not make up."""
    saved: list[list[str]] = []
    lm = tiny(
        scores=[3.0, 2.0], on_val_batch=lambda batch: saved.append(sorted(steps(folder)) if folder.exists() else [])
    )
    fit(lm, [make(folder, save_every_n_steps=1, keep=None)], max_steps=4, val_check_interval=2)
    assert saved[0] == ["last.ckpt", "step_00000001.ckpt"]
    for step, scores in ((1, []), (2, [3.0]), (3, [3.0]), (4, [2.0])):
        read = read_checkpoint(folder / f"step_0000000{step}.ckpt")
        assert (read["global_step"], read["callbacks"]["RunCheckpoint"]["scores"]) == (step, scores)
