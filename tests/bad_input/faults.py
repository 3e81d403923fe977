"""What a fault is: the command line, how it is planted, what is said of it and what is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

BASE = "train data=json data.path={corpus} tokenizer=byte logger=csv "
BLIND = "train data=json data.path=nowhere/at/all.jsonl tokenizer=byte logger=csv "
"""What is wrong with other keys is told before data is looked for."""
SMALL = "model.dim=16 model.num_layers=1 task.batch_size=4 task.seq_len=32 trainer.max_steps=6 callbacks.samples=0 "
RESUME, EVAL, GENERATE = "train resume={run} ", "eval run={run} checkpoint=last ", "generate run={run} checkpoint=last "


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        id: what is wrong.
        words: the command line. {corpus} is a folder of good data, {run} a copy of an interrupted run.
        says: what stderr must match: the key, its value, what to set.
        make: plants the fault in the current folder, or in the copy of the run.
        within: holds while the command runs.
        failed: the run had begun: its folder stays, and says so.
    """

    id: str
    words: str
    says: str
    make: Callable[[Path], None] | None = None
    within: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    failed: bool = False


def prepared(fault: Fault, place: Mapping[str, Path]) -> list[str]:
    """The words of the command line, with the fault planted."""
    run = place["run"]
    if "{run}" in fault.words:
        shutil.copytree(place["trained"], run)
        results = json.loads((run / "results.json").read_text())
        results["run"]["status"] = "interrupted"
        (run / "results.json").write_text(json.dumps(results))
    if fault.make:
        fault.make(run)
    return fault.words.format(**place).split()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_said(fault: Fault, code: int, err: str) -> None:
    assert code == 1
    assert err.startswith("error: "), err
    assert len(err.splitlines()) <= 2, err
    assert re.search(fault.says, err), err


def check_left(fault: Fault, folders: Sequence[Path]) -> None:
    """A run that had begun says that it failed, and whatever checkpoint it has is whole; else there is no run."""
    assert len(folders) == (1 if fault.failed else 0)
    for folder in folders:
        assert json.loads((folder / "results.json").read_text())["run"]["status"] == "failed"
        assert (folder / "config.yaml").read_text().startswith("manyheads:")
        check_whole(folder)
    assert not list(Path().rglob("*.writing"))


def check_whole(folder: Path) -> None:
    from manyheads.run.checkpoint import read_checkpoint

    for path in folder.glob("checkpoints/*"):
        weights = read_checkpoint(path)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values()), path


def folders_of(fault: Fault, run: Path) -> list[Path]:
    """The run folders that the command made or went on with."""
    resumed = [run] if fault.failed and fault.words.startswith(RESUME) else []
    return [*resumed, *(path for path in Path("outputs/runs").glob("*") if path.is_dir())]


def process(words: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """A command line as a process: train.py and eval.py for their verbs, the module for the others."""
    script = ROOT / f"{words[0]}.py"
    start = [str(script), *words[1:]] if script.is_file() else ["-m", "manyheads", *words]
    command = [sys.executable, *start]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environ})
