"""Deleting runs: which go, how much that frees, and the deletion itself."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from manyheads.run.find import Run, last_written
from manyheads.run.table import sort_runs
from manyheads.stamp import is_run_folder

DAY = 24 * 3600.0


class Plan(NamedTuple):
    """What a pruning would do."""

    go: list[Run]
    keep: list[tuple[Run, str]]  # with the reason


def plan(runs: list[Run], root: Path, *, keep_best: int, keep_newest: int, by: str) -> Plan:
    """Keeps the best and the newest runs, and whatever may still be at work or lies outside of `root`.

    `runs` are newest first. A run that has not ended counts as at work until it has written nothing for a day.
    """
    ended = [run for run in runs if _reason(run, root) is None]
    scored = [run for run in ended if by in run.numbers]
    best = {run.path for run in sort_runs(scored, by)[:keep_best]} if scored else set()
    newest = {run.path for run in ended[:keep_newest]}
    go, keep = [], []
    for run in runs:
        reason = _reason(run, root)
        if reason is None and run.path in best:
            reason = "best"
        if reason is None and run.path in newest:
            reason = "newest"
        if reason is None:
            go.append(run)
        else:
            keep.append((run, reason))
    return Plan(go, keep)


def size(path: Path) -> int:
    """Bytes that deleting a folder frees: of its own files, each once, links not followed."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            entry = os.lstat(os.path.join(folder, name))
            if (entry.st_dev, entry.st_ino) not in seen:
                seen.add((entry.st_dev, entry.st_ino))
                total += entry.st_size
    return total


def delete(path: Path) -> None:
    """Deletes a run folder. Its config.yaml goes last, so that an interrupted deletion still shows as a run."""
    assert is_run_folder(path), path
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "config.yaml":
            entry.unlink()
    (path / "config.yaml").unlink()
    path.rmdir()


def _reason(run: Run, root: Path) -> str | None:
    """Why a run may not go, whatever it is worth."""
    if not run.path.resolve().is_relative_to(root.resolve()):
        return "outside, behind a link"
    if run.status == "newer":
        return "written by a newer version"
    if run.status in ("running", "silent", "unknown") and time.time() - last_written(run.path) < DAY:
        return "may be running"
    return None
