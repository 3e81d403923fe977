"""A run's checkpoint as a file: found by its name, and held to what every checkpoint of ours has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from manyheads import __version__
from manyheads.callbacks import checkpoint_io
from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.run.folder import open_run_folder, parse_config, read_config
from manyheads.run.results import SCHEMA
from manyheads.tokenizer.base import Tokenizer

CHECKPOINTS, SUFFIX = "checkpoints", ".ckpt"
RECORD = {"schema": int, "config": str, "tokenizer": str}
"""What a checkpoint's entry "manyheads" must hold."""


def is_checkpoint(path: str | Path) -> bool:
    """Whether a path is a checkpoint file by its name, and not a run folder."""
    file = Path(path).expanduser()
    return file.suffix == SUFFIX and file.is_file()


def read_run_config(path: str | Path, key: str) -> tuple[DictConfig, dict[str, Any]]:
    """The config of a run and its stamp, from its folder or from a checkpoint file alone.

    Raises UserError, naming `key`, when there is none.
    """
    if is_checkpoint(path):
        return parse_config(read_checkpoint(Path(path).expanduser())["manyheads"]["config"], f"the config in {path}")
    return read_config(open_run_folder(path, key))


def data_note(record: Mapping[str, Any], source: Source) -> str | None:
    """What to say when the data is not that of which a checkpoint was trained; None when it is, or it is not known.

    `record` is the checkpoint's entry "manyheads".
    """
    provenance = record.get("provenance")
    known = provenance.get("data_fingerprint") if isinstance(provenance, dict) else None
    if known is None or known == source.fingerprint:
        return None
    return f"the data ({source.name}) is not what the run was trained on: its content or its splits have changed since"


def settle_threshold(cfg: DictConfig, record: Mapping[str, Any], member: str | None = None) -> None:
    """Lets a task that has found a threshold on validation keep it where no validation split is scored; of a mixture each
    member its own.

    `record` is the checkpoint's entry "manyheads"; `member` names the one of a mixture whose task `cfg` has.
    """
    scores = record.get("scores") or {}
    tasks: dict[str | None, Any] = {member: cfg.get("task") or {}}
    tasks |= tasks[member].get("members") or {}
    for name, task in tasks.items():
        found = scores.get("val/no_answer_threshold" + (f"/{name}" if name else ""))
        if found is not None and "threshold" in task and task.threshold is None:
            task.threshold = found


def find_checkpoint(path: str | Path, checkpoint: str | None = None, key: str = "run") -> Path:
    """The file of a run's checkpoint; `path` itself when it is a checkpoint file.

    Raises UserError, naming `key`, when there is none.
    """
    if not path or path == "???":
        raise UserError(f"{key} is not set: set {key}=FOLDER to a run folder. `manyheads runs` lists them.")
    if is_checkpoint(path):
        return Path(path).expanduser()
    folder = open_run_folder(path, key).path / CHECKPOINTS
    there = {found.stem: found for found in sorted(folder.glob(f"*{SUFFIX}"))}
    if not there:
        raise UserError(f"{key}={path}: this run has no checkpoint yet.")
    if checkpoint is None:
        return there.get("best") or there.get("last") or there[max(there)]
    # looked up among the files that are there, so that no name can lead out of the folder
    name = str(checkpoint).removesuffix(SUFFIX)
    if name not in there:
        raise UserError(f"checkpoint={checkpoint} is not in {folder}: set one of {', '.join(there)}.")
    return there[name]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours: "state_dict" and "manyheads", and what Lightning put beside them.

    Raises UserError for a file that cannot be read safely, is not ours, lacks a key or is newer than this version.
    """
    content = checkpoint_io.read_checkpoint(path)
    record = content.get("manyheads")
    if not isinstance(record, dict):
        raise UserError(f"checkpoint {path} is not one of manyheads: it has no entry 'manyheads'.")
    schema = record.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError(
            f"checkpoint {path} was written by manyheads {record.get('version')} (schema {schema}); this is "
            f"{__version__} (schema {SCHEMA}). Install that version or a newer one."
        )
    lacking = [f"manyheads.{name}" for name, kind in RECORD.items() if not isinstance(record.get(name), kind)]
    lacking += [] if isinstance(content.get("state_dict"), dict) else ["state_dict"]
    if lacking:
        raise UserError(f"checkpoint {path} lacks {lacking[0]}: it is not whole. Use another checkpoint of the run.")
    return content


def read_tokenizer(content: dict[str, Any], file: Path) -> Tokenizer:
    """The tokenizer in a checkpoint. Raises UserError when it cannot be read."""
    try:
        return Tokenizer.from_json(content["manyheads"]["tokenizer"])
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise UserError(
            f"checkpoint {file}: its tokenizer cannot be read ({error}). Use another checkpoint."
        ) from error
