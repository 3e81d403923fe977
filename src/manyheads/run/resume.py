"""What a resumed run takes up, and what may not have changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import UserError
from manyheads.run.checkpoint import read_checkpoint
from manyheads.run.folder import RunFolder, read_config
from manyheads.run.results import Results, read_results
from manyheads.tokenizer.base import Tokenizer

FIXED = ("model", "head", "tokenizer")
"""Groups whose change would make the saved weights or optimizer state meaningless."""


@dataclass(frozen=True)
class Resumed:
    """An interrupted run that goes on."""

    folder: RunFolder
    checkpoint: Path
    step: int
    tokenizer: Tokenizer
    results: Results | None


def check_resume(cfg: DictConfig, folder: RunFolder) -> Resumed:
    """Finds the last checkpoint of a run and holds the config to it.

    Raises UserError when the run is finished, has no checkpoint, or when a group of FIXED was changed.
    """
    before, _ = read_config(folder)
    changed = [f"{group}.{name}" for group in FIXED for name in _changes(before.get(group), cfg.get(group))]
    if changed:
        old, new = OmegaConf.select(before, changed[0]), OmegaConf.select(cfg, changed[0])
        raise UserError(
            f"{changed[0]}={new}: a resumed run keeps its network, head and tokenizer (it was {old}). "
            "Leave it out, or start a new run with init=FOLDER."
        )
    checkpoint = folder.checkpoint("last")
    if not checkpoint.is_file():
        raise UserError(f"resume={folder.path}: this run has no checkpoint yet. Start it anew with python train.py.")
    record = read_checkpoint(checkpoint)["manyheads"]
    results = read_results(folder.results) if folder.results.is_file() else None
    limit = cfg.trainer.get("max_steps")
    done = results is not None and results["run"].get("status") == "done"
    if done and (limit is None or limit <= record["step"]):
        raise UserError(
            f"resume={folder.path}: this run is finished at step {record['step']}. "
            f"To train it longer, set trainer.max_steps above {record['step']}."
        )
    return Resumed(folder, checkpoint, record["step"], Tokenizer.from_json(record["tokenizer"]), results)


def _changes(before: Any, now: Any) -> list[str]:
    """The names of the settings that differ."""
    old = OmegaConf.to_container(before, resolve=True) if before is not None else {}
    new = OmegaConf.to_container(now, resolve=True) if now is not None else {}
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    return [str(name) for name in {**old, **new} if old.get(name) != new.get(name)]
