"""The runs on disk: where they are and what is known of each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from manyheads.errors import UserError, did_you_mean
from manyheads.run.results import Results, numbers, read_results
from manyheads.stamp import is_run_folder

OUTPUTS = Path("outputs")
_QUIET_SECONDS = 15 * 60  # a run that has written nothing for so long may have been killed
_TAIL_BYTES = 1 << 16  # of metrics.csv: several rows
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}")
_WRITTEN = ("train.log", "metrics.csv", "results.json", "config.yaml", "checkpoints")


@dataclass(frozen=True)
class Run:
    """One run folder."""

    path: Path
    name: str  # `2026-01-31_12-00-00-generation-tiny`; in a sweep `2026-01-31_12-00-00/3`
    status: str  # done, interrupted, failed, running, silent (no sign of life), unknown, damaged, newer
    started: float  # seconds since the epoch
    results: Results | None
    note: str = ""  # why the results are not to be had
    numbers: dict[str, float] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """An entry of the results' `run` part as text; "" when it is absent."""
        value: Any = self.results["run"].get(key) if self.results else None
        return "" if value is None else str(value)


def find_runs(root: Path = OUTPUTS) -> list[Run]:
    """The runs under `root` (an outputs folder, one that holds an `outputs`, one of runs, one of sweeps, or a sweep), newest first."""
    found = {path.resolve(): path for path in _folders(root)}
    runs = [read_run(path, _name(path)) for path in found.values()]
    return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)


def newest_run(root: Path = OUTPUTS) -> Path | None:
    """The run folder that was started last, or None."""
    runs = find_runs(root)
    return runs[0].path if runs else None


def run_not_set() -> UserError:
    """What a verb says that needs run=FOLDER and was given none."""
    newest = newest_run()
    hint = f"such as run={newest}" if newest else "a run folder; `manyheads train` makes one under outputs/runs"
    return UserError(f"run is not set: add run=FOLDER, {hint}.")


def read_run(path: Path, name: str) -> Run:
    """What is known of the run in a folder. Never raises for what is wrong inside it."""
    results, note, status = None, "", "unknown"
    try:
        results = read_results(path / "results.json")
        status = results["run"].get("status", "unknown")
    except UserError as error:
        note = str(error)
        if (path / "results.json").exists():
            status = "newer" if "was written by" in note else "damaged"
        else:
            status = "running"
    except OSError as error:
        note = str(error)
    if results is not None and status == "running":  # results.json has the steps of a run that ended
        results["run"]["steps"] = max(results["run"].get("steps") or 0, _last_step(path / "metrics.csv"))
    if status == "running" and time.time() - last_written(path) > _QUIET_SECONDS:
        status = "silent"
    return Run(path, name, status, _started(path, results), results, note, numbers(results) if results else {})


def _last_step(path: Path) -> int:
    """The first number of a table's last row; 0 when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
            firsts = [line.partition(b",")[0] for line in file.read().splitlines()[1:]]  # the first may be half a line
    except OSError:
        return 0
    return max((int(first) for first in firsts if first.isdigit()), default=0)


def last_written(path: Path) -> float:
    """When a run last wrote something, in seconds since the epoch."""
    times = [path.stat().st_mtime]
    for name in _WRITTEN:
        place = path / name
        if place.exists():
            times.append(place.stat().st_mtime)
    return max(times)


def pick_run(text: str, runs: list[Run], key: str) -> Run:
    """The run that a person means: by its path, its name, or the beginning of its name when only one begins so."""
    folder = Path(text).expanduser()
    if is_run_folder(folder):
        return read_run(folder, _name(folder))
    exact = [run for run in runs if text in (run.name, run.path.name, run.text("name"))]
    begins = exact or [run for run in runs if run.name.startswith(text)]
    if len(begins) == 1:
        return begins[0]
    if begins:
        raise UserError(f"{key} {text}: {len(begins)} runs are meant by this: {', '.join(r.name for r in begins[:5])}.")
    raise UserError(f"{key} {text}: there is no such run.{did_you_mean(text, [run.name for run in runs])}")


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    if is_run_folder(root):
        yield root
        return
    inner = root / "outputs"
    tops = [root, inner] if inner.is_dir() else [root]
    for top in tops:
        yield from _children(top / "runs")
        for sweep in _sorted(top / "sweeps"):
            yield from _children(sweep)
    yield from _children(root)
    for folder in _sorted(root):  # an outputs/sweeps
        yield from _children(folder)


def _children(folder: Path) -> Iterable[Path]:
    return (path for path in _sorted(folder) if is_run_folder(path))


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _name(path: Path) -> str:
    whole = path.resolve()
    return f"{whole.parent.name}/{whole.name}" if whole.name.isdigit() else whole.name


def _started(path: Path, results: Results | None) -> float:
    if results is not None:
        try:
            return datetime.fromisoformat(results["run"].get("started", "")).timestamp()
        except (TypeError, ValueError):
            pass
    stamp = _STAMP.search(_name(path))
    if stamp:
        return datetime.strptime(stamp[0], "%Y-%m-%d_%H-%M-%S").timestamp()
    return (path / "config.yaml").stat().st_mtime
