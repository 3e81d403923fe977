"""The runs as a table, as JSON, and two of them side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from manyheads.errors import UserError, did_you_mean
from manyheads.run.find import Run

LOWER_IS_BETTER = frozenset(
    {"loss", "perplexity", "bits_per_byte", "peak_memory_bytes", "wall_seconds", "train_seconds"}
)
"""Names for which less is more, where a run's results do not say so themselves."""

TEXTS = ("data", "model")
_METRICS = ("val/bits_per_byte", "test/bits_per_byte")
_COLORS = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red", "damaged": "red"}


def lower_is_better(name: str, runs: list[Run]) -> bool:
    """Whether a smaller `val/loss` is a better one: what the newest run that knows it says, else by the name."""
    full = name.partition("/")[2]
    short = full.partition("/")[0] or name  # of `val/loss/part` the part is a source's, or a member's
    for run in runs:
        directions = (run.results or {}).get("directions") or {}
        direction = directions.get(full) or directions.get(short)
        if direction:
            return direction == "lower"
    return short in LOWER_IS_BETTER


def sort_runs(runs: list[Run], name: str) -> list[Run]:
    """The best first; runs without the number last, newest first among them. Raises UserError for an unknown name."""
    known = sorted({key for run in runs for key in run.numbers})
    if runs and name not in known:
        full = [key for key in known if key.rpartition("/")[2] == name]
        hint = f" Did you mean {' or '.join(full)}?" if full else did_you_mean(name, known)
        raise UserError(f"{name}: no run has this number.{hint}\nThere are: {', '.join(known) or 'none yet'}.")
    sign = 1 if lower_is_better(name, runs) else -1
    return sorted(runs, key=lambda run: (name not in run.numbers, sign * run.numbers.get(name, 0.0)))


def as_json(runs: list[Run]) -> str:
    """A list of objects: name, path, status, started (ISO 8601), results (or null), note."""
    rows = [
        {
            "name": run.name,
            "path": str(run.path),
            "status": run.status,
            "started": datetime.fromtimestamp(run.started).astimezone().isoformat(timespec="seconds"),
            "results": run.results,
            "note": run.note or None,
        }
        for run in runs
    ]
    return json.dumps(rows, indent=2)


def runs_table(runs: list[Run], metric: str | None = None, texts: Sequence[str] = TEXTS) -> Any:
    """A rich table: a row for each run, what `texts` says of each, and `metric` as a column of its own."""
    from rich.table import Table
    from rich.text import Text

    metrics = [name for name in _METRICS if any(name in run.numbers for run in runs)]
    if metric is not None:
        metrics = [metric, *(name for name in metrics if name != metric)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)  # a name is there to be copied
    for column in ("status", *texts):
        table.add_column(column, no_wrap=True)
    for column in ("steps", *metrics):  # a header on two lines: eight columns fit into 80 characters
        table.add_column(column.replace("/", "/\n"), justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            Text(run.name),
            Text(run.status, style=_COLORS.get(run.status, "dim")),
            *(Text(run.text(key)) for key in (*texts, "steps")),
            *(number_text(run.numbers.get(name)) for name in metrics),
        )
    return table


def diff_rows(one: Run, other: Run) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str, str]]]:
    """(config key, value in one, value in the other) where they differ, and (number, one, other, other - one)."""
    left, right = flat_config(one), flat_config(other)
    settings = [
        (key, left.get(key, "-"), right.get(key, "-"))
        for key in sorted({**left, **right})
        if left.get(key) != right.get(key) and not key.startswith("manyheads.")
    ]
    names = [name for name in {**one.numbers, **other.numbers} if not name.startswith("run/")]
    return settings, [_metric_row(name, one.numbers.get(name), other.numbers.get(name)) for name in names]


def diff_table(one: Run, other: Run) -> Any:
    """The differing config keys and the numbers of two runs side by side."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    settings, metrics = diff_rows(one, other)
    config = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("config", one.name, other.name):
        config.add_column(Text(column), overflow="fold")
    for row in settings:
        config.add_row(*map(Text, row))
    if not settings:
        config.add_row("no key differs", "", "")
    numbers = Table(box=None, pad_edge=False, header_style="bold")
    numbers.add_column("number")
    for column in (one.name, other.name, "difference"):
        numbers.add_column(Text(column), justify="right", overflow="fold")
    for cells in metrics:
        numbers.add_row(*map(Text, cells))
    return Group(config, "", numbers)


def flat_config(run: Run) -> dict[str, str]:
    """A run's config as `group.key` -> value in yaml's words. Raises UserError when the file is damaged."""
    import yaml

    try:
        found = yaml.load(
            (run.path / "config.yaml").read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{run.path / 'config.yaml'} cannot be read: {str(error).splitlines()[0]}") from error
    return dict(_flat(found, ""))


def number_text(value: float | None) -> str:
    """A number as a column shows it: whole when it is large, four places else."""
    if value is None:
        return "-"
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.3g}"


def size_text(count: float) -> str:
    """Bytes in the unit that keeps the number short."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _metric_row(name: str, one: float | None, other: float | None) -> tuple[str, str, str, str]:
    change = "" if one is None or other is None else f"{other - one:+.6g}"
    return name, number_text(one), number_text(other), change


def _flat(value: Any, prefix: str) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [pair for key, item in value.items() for pair in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, json.dumps(value, ensure_ascii=False, default=str))]
