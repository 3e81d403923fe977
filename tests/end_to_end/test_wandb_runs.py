"""Guards the W&B run beside a run folder: its own, with what it was made from, and ended as the run ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyheads.lm import LM


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """What W&B's own reader finds in each W&B run of a run folder, the oldest first."""
    found = []
    for file in sorted(folder.glob("wandb/*/*.wandb"), key=lambda path: path.stat().st_mtime):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        found.append([json.loads(line) for line in lines])
    return found


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


def history(found: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """The numbers of each step."""
    rows = [record["item"] for record in of("history", found)]
    return {
        row["_step"]: {name: value for name, value in row.items() if "/" in name and not isinstance(value, dict)}
        for row in rows
    }


def exit_code(found: list[dict[str, Any]]) -> int:
    (end,) = of("exit", found)
    return end.get("exit_code", 0)


def commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


@pytest.mark.slow
def test_a_sweep_of_two_in_one_process_makes_two_folders_and_two_runs(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each with the config, the commit, the folder's name, and the very rows of its metrics.csv on the same axis."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "m"]):
        subprocess.run([*git, *words], check=True, cwd=tmp_path)
    words = ["logger=wandb", "logger.wandb.project=p", "logger.wandb.group=g", "tags=[t]", "optim.lr=0.01,0.02"]
    done = cli("train", "-m", *tiny, *words)
    assert (done.code, done.err) == (0, "")
    assert [folder.name for folder in done.folders] == ["0", "1"]
    seen = set()
    for folder, lr in zip(done.folders, (0.01, 0.02), strict=True):
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        assert results["run"]["status"] == "done"
        assert (results["run"]["git_commit"], results["run"]["git_dirty"]) == (commit(), True)
        (found,) = records(folder)
        run = of("run", found)[0]
        assert run["run_id"] == results["run"]["wandb_id"]
        seen.add(run["run_id"])
        assert (run["project"], run["run_group"], run["tags"]) == ("p", "g", ["t"])
        config = run["config"]["update"]
        assert (config["optim"]["lr"], config["model"]["dim"], config["model"]["norm"]) == (lr, 16, "rmsnorm")
        assert (config["run"]["folder"], config["run"]["git_commit"]) == (folder.name, commit())
        assert exit_code(found) == 0
        rows = _metrics(folder)
        assert {step: pytest.approx(row) for step, row in history(found).items()} == rows
    assert len(seen) == 2


def _metrics(folder: Path) -> dict[int, dict[str, float]]:
    import csv

    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return {int(row.pop("step")): row for row in rows}


@pytest.mark.slow
def test_a_run_that_fails_ends_as_failed(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: LM, batch: Any, batch_idx: int) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr(LM, "test_step", fail)
    done = cli("train", *tiny, "logger=wandb")
    assert done.code == 1
    assert done.results["run"]["status"] == "failed"
    (found,) = records(done.folder)
    assert exit_code(found) == 1


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_in_the_same_run(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not fail: it was told to stop. Offline, W&B keeps a file for each of the two processes, under one id."""
    plain = LM.training_step

    def stop(self: LM, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", stop)
    done = cli("train", *tiny, "logger=wandb")
    assert done.code == 143
    monkeypatch.setattr(LM, "training_step", plain)
    resumed = cli("train", f"resume={done.folder}")
    assert (resumed.code, resumed.err) == (0, "")
    first, second = records(done.folder)
    ids = [of("run", found)[0]["run_id"] for found in (first, second)]
    assert ids == [done.results["run"]["wandb_id"]] * 2
    assert [exit_code(found) for found in (first, second)] == [0, 0]
    assert list(history(first)) == [1, 2, 3, 4]
    assert list(history(second)) == [6]


KILLED = """
import os, signal, sys
from manyheads.cli import main
from manyheads.lm import LM

plain, last = LM.training_step, int(sys.argv[1])

def training_step(self, batch, batch_idx):
    if self.trainer.global_step == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, batch, batch_idx)

LM.training_step = training_step
sys.exit(main(["train", *sys.argv[2:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("saved_every", "lost"), [(150, False), (180, True)])
def test_a_run_that_is_killed_has_each_number_once(
    cli: Callable[..., Any], tiny: list[str], tmp_path: Path, saved_every: int, lost: bool
) -> None:
    """W&B writes its file in blocks of 32 KiB: here its whole blocks end at a step after the checkpoint, which is made
    again, or, with a later checkpoint, at one before, so that the steps in between are lost to it."""
    words = ["logger=wandb", "trainer.max_steps=210", "trainer.log_every_n_steps=1", "++callbacks.samples=0"]
    command = [sys.executable, "-c", KILLED, "195", *tiny, *words, f"trainer.val_every_n_steps={saved_every}"]
    alone = {
        name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"
    }  # W&B's process would outlive it
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (folder,) = tmp_path.glob("outputs/runs/*")
    (found,) = records(folder)
    assert (max(history(found)) < saved_every) == lost
    resumed = cli("train", f"resume={folder}")
    assert (resumed.code, resumed.err) == (0, "")
    first, second = records(folder)
    steps = [record["item"]["_step"] for found in (first, second) for record in of("history", found)]
    assert steps == list(range(1, 211))
    assert _timeless(history(first) | history(second)) == _timeless(_metrics(folder))


def _timeless(rows: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    """Without the rates, which differ where a step was made twice."""
    return {
        step: {name: pytest.approx(value) for name, value in row.items() if not name.startswith("perf/")}
        for step, row in rows.items()
    }
