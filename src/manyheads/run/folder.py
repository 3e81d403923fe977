"""The run folder: made once, atomically, and every path inside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads import __version__
from manyheads.atomic import replacing
from manyheads.errors import UserError, did_you_mean
from manyheads.run.results import SCHEMA
from manyheads.run.secrets import masked_config

RUNS = Path("outputs/runs")
"""Where runs go that are no trials of a sweep."""

STAMP = "manyheads"
"""The key of config.yaml under which the file says which version wrote it, and which choice each group was."""

_OWN_REFERENCE = re.compile(r"\$\{(?:oc\.env:[^${}]*|[\w.\[\]-]+)\}")
"""What a config of ours may refer to: the environment and its own keys. Other resolvers of OmegaConf act when read."""


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run is."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config, secrets apart: what every rank, `eval` and `resume` read."""
        return self.path / "config.yaml"

    @property
    def results(self) -> Path:
        """The typed results."""
        return self.path / "results.json"

    def log(self, rank: int = 0) -> Path:
        """What a rank showed and warned of, as plain lines: train.log, train.rank1.log, ..."""
        return self.path / (f"train.rank{rank}.log" if rank else "train.log")

    @property
    def predictions(self) -> Path:
        """One line for each example of the test split."""
        return self.path / "predictions" / "test.jsonl"

    def page(self, name: str) -> Path:
        """A page of HTML about the test split, such as `confusion`, the confusion matrix of classes."""
        return self.path / "predictions" / f"{name}.html"

    @property
    def trace(self) -> Path:
        """Where the time of a few steps went, in Chrome's trace format."""
        return self.path / "profile" / "trace.json"

    @property
    def export(self) -> Path:
        """The best weights in the Hugging Face layout."""
        return self.path / "export"

    def keep(self, reports: Mapping[str, Any]) -> None:
        """Writes what was found out about the data, each report to the file of its name."""
        for name, content in reports.items():
            with replacing(self.path / name) as file:
                file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def checkpoint(self, name: str) -> Path:
        """The path of `best`, `last` or any other checkpoint by its name without the suffix."""
        return self.path / "checkpoints" / f"{name}.ckpt"


def make_run_folder(parent: Path, task: str, model: str, now: datetime | None = None) -> RunFolder:
    """Makes `<date_time>-<task>-<model>` under `parent`; a name that is taken gets -2, -3, ..."""
    name = f"{(now or datetime.now()).strftime('%Y-%m-%d_%H-%M-%S')}-{task}-{model}"
    return RunFolder(make_folder(parent / name).resolve())


def make_folder(path: Path) -> Path:
    """Makes a folder of its own: `path`, or with -2, -3, ... behind its name when that is taken.

    `mkdir` of one name succeeds in one process only, so two runs in one second never share a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, count = path, 1
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
        count += 1
        folder = path.with_name(f"{path.name}-{count}")


def check_writable(path: Path) -> None:
    """Raises UserError, before any long work, when nothing can be written to a folder that is there or will be made."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"{there} is a file, but {path} must be a folder. Move it away, or start from another folder.")
    if not may_write(there):
        raise UserError(
            f"{there} cannot be written: a run would go to {path}. Set its rights, or start from another folder."
        )


def may_write(folder: Path) -> bool:
    """Whether this process may make files in a folder."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


@contextlib.contextmanager
def unmade_on_error(folder: RunFolder, *, keep: bool) -> Iterator[None]:
    """Removes a folder that was just made when its run cannot start, so that nothing is left that looks like one."""
    try:
        yield
    except BaseException:
        if not keep:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def open_run_folder(path: str | Path, key: str) -> RunFolder:
    """The run folder at `path`, which may be a run's name alone, as `manyheads runs` shows it. Raises UserError, naming `key`,
    when there is none."""
    folder = Path(path).expanduser()
    if not folder.exists() and len(folder.parts) == 1 and (RUNS / folder).is_dir():
        folder = RUNS / folder
    if not folder.exists():
        beside = [folder.parent, *([RUNS] if len(folder.parts) == 1 else [])]
        siblings = sorted(
            {found.name for place in beside if place.is_dir() for found in place.iterdir() if found.is_dir()}
        )
        raise UserError(
            f"{key}={path}: there is no such folder.{did_you_mean(folder.name, siblings)} `manyheads runs` lists them."
        )
    if not folder.is_dir() or not (folder / "config.yaml").is_file():
        raise UserError(f"{key}={path} is no run folder: it holds no config.yaml. `manyheads runs` lists the runs.")
    return RunFolder(folder.resolve())


def config_text(cfg: DictConfig, choices: dict[str, str]) -> str:
    """What config.yaml holds: the config, resolved but for secrets, under a stamp."""
    stamp = {"schema": SCHEMA, "version": __version__, "choices": choices}
    return OmegaConf.to_yaml(OmegaConf.create({STAMP: stamp, **masked_config(cfg)}))


def write_config(folder: RunFolder, text: str) -> None:
    """Writes config.yaml."""
    with replacing(folder.config) as file:
        file.write(text)


def parse_config(text: str, where: str) -> tuple[DictConfig, dict[str, Any]]:
    """The config and its stamp (`schema`, `version`, `choices`) from the text of a config.yaml.

    Raises UserError for a text that is no config of ours or that a newer version wrote.
    """
    try:
        cfg = OmegaConf.create(text)
    except Exception as error:
        raise UserError(f"{where} cannot be read as a config: {str(error).splitlines()[0]}") from error
    if not isinstance(cfg, DictConfig) or STAMP not in cfg:
        raise UserError(f"{where} is not the config of a manyheads run: it has no {STAMP!r} entry.")
    stamp = cfg.pop(STAMP)
    stamp = OmegaConf.to_container(stamp) if isinstance(stamp, DictConfig) else {}
    assert isinstance(stamp, dict)
    for value in _texts(OmegaConf.to_container(cfg, resolve=False)):
        if len(_OWN_REFERENCE.findall(value)) < value.count("${"):
            raise UserError(f"{where} refers to {value}, which no run's config does: it is not read.")
    if not isinstance(stamp.get("schema"), int):
        raise UserError(f"{where} is not the config of a manyheads run: its {STAMP!r} entry has no schema number.")
    if stamp["schema"] > SCHEMA:
        raise UserError(
            f"{where} was written by manyheads {stamp.get('version')} (schema {stamp.get('schema')}); this is "
            f"{__version__} (schema {SCHEMA}). Install that version or a newer one."
        )
    return cfg, {str(name): value for name, value in stamp.items()}


def read_config(folder: RunFolder) -> tuple[DictConfig, dict[str, Any]]:
    """The config of a run and its stamp. Raises UserError as `parse_config` does."""
    try:
        text = folder.config.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{folder.config} cannot be read as a config: byte {error.start} is not UTF-8.") from error
    return parse_config(text, str(folder.config))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
