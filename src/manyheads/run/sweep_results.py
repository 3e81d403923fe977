"""What a sweep came to: its runs by setting, seeds together, as a table, as files and as a chart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manyheads.errors import UserError
from manyheads.run.find import Run, read_run
from manyheads.run.interval import Mean, mean_of
from manyheads.run.table import flat_config, lower_is_better, number_text

SEED = "seed="
COSTS = ("run/parameters", "run/train_seconds", "perf/tokens_per_sec")
"""What a score is held against."""


class Trial(NamedTuple):
    """A run of a sweep."""

    words: tuple[str, ...]  # its overrides, as they were typed
    folder: Path


class Setting(NamedTuple):
    """The runs of a sweep that differ by their seed alone."""

    name: str  # the overrides in which settings differ
    runs: list[Run]
    numbers: dict[str, Mean]  # by their full names, over those runs that are done

    @property
    def status(self) -> str:
        """How many of its runs are done, where not all are."""
        done = sum(run.status == "done" for run in self.runs)
        return "" if done == len(self.runs) else f"{done} of {len(self.runs)} done"


class SweepResults(NamedTuple):
    """The settings, best first, and by which number."""

    monitor: str  # val/NAME
    settings: list[Setting]

    @property
    def scores(self) -> list[str]:
        """The score that decides, and the same of the test split where some run has it."""
        test = "test/" + self.monitor.partition("/")[2]
        return [self.monitor, *([test] if any(test in setting.numbers for setting in self.settings) else [])]


def sweep_results(trials: Sequence[Trial]) -> SweepResults | None:
    """What the runs of a sweep came to; None where none of them left a score that says which is best."""
    found: dict[str, list[Run]] = {}
    for trial, name in zip(trials, _names(trials), strict=True):
        if (run := _read(trial.folder)) is not None:
            found.setdefault(name, []).append(run)
    runs = [run for group in found.values() for run in group]
    monitor = next((name for run in runs if (name := _monitor(run)) in run.numbers), None)
    if monitor is None:
        return None
    settings = [Setting(name, group, _means(group)) for name, group in found.items()]
    sign = 1 if lower_is_better(monitor, runs) else -1

    def order(setting: Setting) -> tuple[bool, float]:
        known = monitor in setting.numbers
        return not known, sign * setting.numbers[monitor].value if known else 0.0

    return SweepResults(monitor, sorted(settings, key=order))


def tell_sweep(trials: Sequence[Trial]) -> None:
    """Shows what several runs came to, and writes it into their folder; nothing of fewer, or where no score is there."""
    found = sweep_results(trials) if len(trials) > 1 else None
    if found is None:
        return
    from rich.console import Console

    from manyheads.run.typed import shown

    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: never cut a line there
        console.width = 240
    paths = write_sweep(trials[0].folder.parent, found)
    console.print("\nThe sweep, best first:" + (" means and 95 % intervals over seeds" if _has_seeds(found) else ""))
    console.print(sweep_table(found))
    console.print(f"chart: {shown(paths[-1])}", soft_wrap=True, markup=False)


def _has_seeds(found: SweepResults) -> bool:
    return any(len(setting.runs) > 1 for setting in found.settings)


def sweep_table(found: SweepResults) -> Any:
    """A rich table: a line for each setting."""
    from rich.table import Table
    from rich.text import Text

    with_status = any(setting.status for setting in found.settings)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", overflow="fold")
    if with_status:
        table.add_column("status", no_wrap=True)
    for column in ("runs", *found.scores, *COSTS):
        table.add_column(_heading(column), justify="right", no_wrap=True)
    for setting in found.settings:
        cells = [mean_text(setting.numbers.get(name), name in found.scores) for name in (*found.scores, *COSTS)]
        table.add_row(
            Text(setting.name),
            *([Text(setting.status, "yellow")] if with_status else []),
            str(len(setting.runs)),
            *cells,
        )
    return table


def mean_text(mean: Mean | None, with_interval: bool = True) -> str:
    """A mean with the half width of its interval, where it is known."""
    if mean is None:
        return "-"
    text = number_text(mean.value if with_interval else round(mean.value))
    return text if mean.half_width is None or not with_interval else f"{text} ±{mean.half_width:.4f}"


def write_sweep(folder: Path, found: SweepResults) -> list[Path]:
    """Writes sweep.json, sweep.csv and sweep.html into a folder; returns their paths."""
    from manyheads.atomic import replacing
    from manyheads.run.sweep_chart import chart_page

    names = [*found.scores, *COSTS]
    rows = [
        {"setting": one.name, "runs": [run.path.name for run in one.runs], **_numbers(one, names)}
        for one in found.settings
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["setting", "runs", *(f"{name}{end}" for name in names for end in ("", " +-"))])
    for one in found.settings:
        means = (one.numbers.get(name) for name in names)
        cells = (["", ""] if mean is None else [mean.value, mean.half_width] for mean in means)
        writer.writerow([one.name, len(one.runs), *(cell for pair in cells for cell in pair)])
    contents = {
        "sweep.json": json.dumps({"monitor": found.monitor, "settings": rows}, indent=2, ensure_ascii=False) + "\n",
        "sweep.csv": text.getvalue(),
        "sweep.html": chart_page(found),
    }
    for name, content in contents.items():
        with replacing(folder / name) as file:
            file.write(content)
    return [folder / name for name in contents]


def _numbers(setting: Setting, names: Sequence[str]) -> dict[str, Any]:
    found = {name: setting.numbers[name] for name in names if name in setting.numbers}
    return {
        name: {"mean": mean.value, "half_width": mean.half_width, "runs": mean.runs} for name, mean in found.items()
    }


def _names(trials: Sequence[Trial]) -> list[str]:
    """For each run the overrides in which settings differ; all of them where they do not."""
    words = [tuple(word for word in trial.words if not word.startswith(SEED)) for trial in trials]
    everywhere = set.intersection(*map(set, words)) if words else set()
    differ = len(set(words)) > 1
    return [" ".join(word for word in one if not differ or word not in everywhere) for one in words]


def _read(folder: Path) -> Run | None:
    return read_run(folder, f"{folder.parent.name}/{folder.name}") if (folder / "results.json").is_file() else None


def _monitor(run: Run) -> str:
    try:
        return json.loads(flat_config(run).get("callbacks.monitor", '""')) or ""
    except (UserError, OSError):
        return ""


def _means(runs: Sequence[Run]) -> dict[str, Mean]:
    done = [run for run in runs if run.status == "done"]
    names = dict.fromkeys(name for run in done for name in run.numbers)
    return {name: mean_of([run.numbers[name] for run in done if name in run.numbers]) for name in names}


def _heading(name: str) -> str:
    plain = {"run/parameters": "parameters", "run/train_seconds": "train\nseconds", "perf/tokens_per_sec": "tokens/s"}
    return plain.get(name, name.replace("/", "/\n"))
