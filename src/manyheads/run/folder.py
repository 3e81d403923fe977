"""The run folder: made once, atomically, and every path inside it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads import __version__
from manyheads.errors import UserError, did_you_mean
from manyheads.run.secrets import masked_config

SCHEMA = 1
"""The version of config.yaml, of the record in a checkpoint and of results.json."""

STAMP = "manyheads"
"""The key of config.yaml under which the file says which version wrote it, and which choice each group was."""


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

    @property
    def log(self) -> Path:
        """What the screen showed, as plain lines."""
        return self.path / "train.log"

    @property
    def predictions(self) -> Path:
        """One line for each example of the test split."""
        return self.path / "predictions" / "test.jsonl"

    @property
    def export(self) -> Path:
        """The best weights in the Hugging Face layout."""
        return self.path / "export"

    def checkpoint(self, name: str) -> Path:
        """The path of `best`, `last` or any other checkpoint by its name without the suffix."""
        return self.path / "checkpoints" / f"{name}.ckpt"


def make_run_folder(parent: Path, task: str, model: str, now: datetime | None = None) -> RunFolder:
    """Makes `<date_time>-<task>-<model>` under `parent`; a name that is taken gets -2, -3, ...

    `mkdir` of one name succeeds in one process only, so two runs in one second never share a folder.
    """
    stem = f"{(now or datetime.now()).strftime('%Y-%m-%d_%H-%M-%S')}-{task}-{model}"
    parent.mkdir(parents=True, exist_ok=True)
    count = 1
    while True:
        path = parent / (stem if count == 1 else f"{stem}-{count}")
        try:
            path.mkdir()
        except FileExistsError:
            count += 1
            continue
        return RunFolder(path.resolve())


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
    """The run folder at `path`. Raises UserError, naming `key`, when there is none."""
    folder = Path(path).expanduser()
    if not folder.exists():
        siblings = sorted(p.name for p in folder.parent.iterdir()) if folder.parent.is_dir() else []
        raise UserError(
            f"{key}={path}: there is no such folder.{did_you_mean(folder.name, siblings)} `manyheads runs` lists them."
        )
    if not folder.is_dir() or not (folder / "config.yaml").is_file():
        raise UserError(f"{key}={path} is no run folder: it holds no config.yaml. `manyheads runs` lists the runs.")
    return RunFolder(folder.resolve())


def write_config(folder: RunFolder, cfg: DictConfig, choices: dict[str, str]) -> str:
    """Writes config.yaml, resolved but for secrets, and returns its text."""
    stamp = {"schema": SCHEMA, "version": __version__, "choices": choices}
    text = OmegaConf.to_yaml(OmegaConf.create({STAMP: stamp, **masked_config(cfg)}))
    beside = folder.config.with_suffix(".yaml.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder.config)
    return text


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
    stamp = OmegaConf.to_container(cfg.pop(STAMP))
    assert isinstance(stamp, dict)
    if not isinstance(stamp.get("schema"), int) or stamp["schema"] > SCHEMA:
        raise UserError(
            f"{where} was written by manyheads {stamp.get('version')} (schema {stamp.get('schema')}); this is "
            f"{__version__} (schema {SCHEMA}). Install that version or a newer one."
        )
    return cfg, {str(name): value for name, value in stamp.items()}


def read_config(folder: RunFolder) -> tuple[DictConfig, dict[str, Any]]:
    """The config of a run and its stamp."""
    return parse_config(folder.config.read_text(encoding="utf-8"), str(folder.config))
