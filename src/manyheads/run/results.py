"""results.json: its schema, and how it is read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

from manyheads.atomic import replacing
from manyheads.errors import UserError

SCHEMA = 1
"""The version of results.json, config.yaml and the record in a checkpoint that is written, and the newest that is read."""

Status = Literal["running", "done", "interrupted", "failed"]


class RunRecord(TypedDict, total=False):
    """What a run was and how it went."""

    name: str  # what the user called it, else the folder's name
    folder: str  # the name of the run folder, without the path to it
    status: Status  # "running" also stays behind when the process was killed
    tags: list[str]
    task: str  # the choice of each group
    data: str
    tokenizer: str
    model: str
    optim: str
    seed: int
    started: str  # ISO 8601 with the offset from UTC; of the first start when the run was resumed
    command: str  # the command line that began it, secrets masked
    resumes: list[str]  # those that went on with it, in order
    git_commit: str | None  # None outside of a checkout
    git_dirty: bool | None  # whether tracked files had changes, or files were untracked
    versions: dict[str, str]  # of Python and the packages that can change a number
    host: str
    platform: str
    device: str  # in words
    threads: int  # that torch computed with on the CPU: another number can change the last digits of sums
    devices: int  # that trained together, a process each
    data_fingerprint: str  # of the content, hex
    tokenizer_fingerprint: str  # of the content, hex
    notes: list[str]  # what the screen said about the data: how it was split and cleaned, what the tokenizer loses
    wandb_id: str | None
    mlflow_id: str | None  # the tag of the MLflow run by which a resumed run finds it
    parameters: int  # trainable and not
    steps: int  # optimizer steps done
    tokens_seen: int  # label tokens trained on, padding apart, all ranks
    train_seconds: float  # in training alone, over all resumes
    wall_seconds: float  # from start to end, over all resumes


class Results(TypedDict):
    """The typed results of one run."""

    schema: int  # of this file
    val: dict[str, float | None]  # metric name -> value on the validation split; None: not finite
    test: dict[str, float | None]  # metric name -> value on the test split, of the best weights
    perf: dict[str, float | None]  # tokens_per_sec, peak_memory_bytes
    run: RunRecord
    baselines: NotRequired[dict[str, dict[str, float | None]]]  # simple rule -> metric name -> value on the test split
    directions: NotRequired[dict[str, Literal["lower", "higher"]]]  # metric name -> which is better
    samples: NotRequired[
        dict[str, float | None]
    ]  # how varied the texts are that the best weights wrote at their validation
    signatures: NotRequired[dict[str, dict[str, str]]]  # val, test: metric name -> how, in the official scorer's words


def write_results(path: Path, results: Results) -> None:
    """Writes results.json, of which a reader never sees half. Numbers that are not finite, which JSON does not have,
    become null."""
    with replacing(path) as file:
        file.write(json.dumps(_finite(results), indent=2, allow_nan=False) + "\n")


def read_results(path: Path) -> Results:
    """The results of a run; parts that an older version did not write are empty.

    Raises UserError for a file that is damaged or that a newer version wrote.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file. A run writes it when it starts.") from error
    except ValueError as error:
        raise UserError(
            f"{path} is damaged: {error}. The run's config.yaml and metrics.csv may still be whole."
        ) from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if not isinstance(schema, int):
        raise UserError(f"{path} is not the results.json of a run: it has no schema number.")
    if schema > SCHEMA:
        raise UserError(
            f"{path} was written by manyheads {_version(found)} (results schema {schema}); this one reads up to "
            f"{SCHEMA}. Install that version or a newer one."
        )
    parts = {name: found[name] if isinstance(found.get(name), dict) else {} for name in ("val", "test", "perf", "run")}
    return cast(Results, {**found, **parts})


def value_of(results: Results, name: str) -> float | None:
    """The number called `val/loss`, `test/perplexity`, `perf/tokens_per_sec` or `run/steps`; None when it is absent."""
    part, _, key = name.partition("/")
    section = cast(dict[str, Any], results).get(part)
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def numbers(results: Results) -> dict[str, float]:
    """Every number of the results by its full name."""
    names = [f"{part}/{key}" for part in ("val", "test", "perf", "run") for key in cast(dict[str, Any], results)[part]]
    found = ((name, value_of(results, name)) for name in names)
    return {name: value for name, value in found if value is not None}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _version(found: dict[str, Any]) -> str:
    run = found.get("run")
    versions = run.get("versions") if isinstance(run, dict) else None
    return str(versions.get("manyheads", "of unknown version")) if isinstance(versions, dict) else "of unknown version"
