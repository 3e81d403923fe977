"""What a resumed run takes up, and what may not have changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads.build import complete, target_of
from manyheads.errors import UserError, written
from manyheads.members import members_of
from manyheads.run.checkpoint import read_checkpoint, read_tokenizer
from manyheads.run.folder import RunFolder, read_config
from manyheads.run.results import Results, read_results
from manyheads.run.secrets import masked_config
from manyheads.run.typed import command
from manyheads.tokenizer.base import Tokenizer

FIXED = ("model", "head", "tokenizer")
"""Groups whose change would make the saved weights or optimizer state meaningless."""

OWN_WORDS = ("resume", "allow")
"""What belongs to one command line, and not to the run."""

LIMITS = (
    *(f"trainer.{name}" for name in ("max_steps", "max_epochs", "max_minutes", "max_tokens")),
    "callbacks.patience",
)
"""What ends a run that nobody stops."""

LIGHTNINGS_KEYS = (
    "optimizer_states",
    "lr_schedulers",
    "loops",
    "callbacks",
    "global_step",
    "epoch",
    "pytorch-lightning_version",
)
"""What Lightning puts into a checkpoint; without some of them it would begin at step 0 and say nothing."""


@dataclass(frozen=True)
class Resumed:
    """An interrupted run that goes on."""

    folder: RunFolder
    checkpoint: Path
    step: int
    tokenizer: Tokenizer
    results: Results | None
    record: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint says of the run
    place: Mapping[str, Any] = field(default_factory=dict)  # where training stood in the data
    changes: Sequence[str] = ()  # the settings that are not those of before, as `optim.lr 0.003 -> 0.001`


def check_resume(cfg: DictConfig, folder: RunFolder) -> Resumed:
    """Finds the last checkpoint of a run and holds the config to it.

    Raises UserError when the run is finished, has no checkpoint, or when a group of FIXED was changed.
    """
    _check_links(folder)
    before, _ = read_config(folder)
    # a run begun before a setting existed has that setting's default
    allow = cfg.get("allow") or ()
    before, cfg = complete(before, allow), complete(cfg, allow)
    changed = [f"{group}.{name}" for group in FIXED for name in _changes(before.get(group), cfg.get(group))]
    changed += _changed_heads(before, cfg)
    changed += [key for key in ("optim._target_",) if OmegaConf.select(before, key) != OmegaConf.select(cfg, key)]
    if changed:
        old, new = OmegaConf.select(before, changed[0]), OmegaConf.select(cfg, changed[0])
        raise UserError(
            f"{changed[0]}={written(new)}: a resumed run keeps its network, head, tokenizer and kind of optimizer (it was {written(old)}). "
            "Leave it out, or start a new run with init=FOLDER."
        )
    checkpoint = folder.checkpoint("last")
    if not checkpoint.exists():
        raise UserError(f"resume={folder.path}: this run has no checkpoint yet. Start it anew with {command('train')}.")
    content, task = _read(checkpoint, _names_of_task(cfg, allow))
    record = content["manyheads"]
    results = read_results(folder.results) if folder.results.is_file() else None
    if results is not None and results["run"].get("status") == "done":
        _check_longer(before, cfg, folder, record["step"])
    steps = cfg.trainer.get("max_steps")
    if steps is not None and steps < record["step"]:
        raise UserError(
            f"trainer.max_steps={steps}: this run is at step {record['step']:,} already. Set it to that or more, or score the run "
            "as it is with eval."
        )
    return Resumed(
        folder,
        checkpoint,
        record["step"],
        read_tokenizer(content, checkpoint),
        results,
        record,
        place=content[task],
        changes=changes_of(before, cfg),
    )


def _changed_heads(before: DictConfig, cfg: DictConfig) -> list[str]:
    """The settings of the heads of a mixture's members that are not those of before; a member that is new, or gone."""
    old, new = members_of(before), members_of(cfg)
    there = [name for name in new if name in old]
    moved = [f"task.members.{name}" for name in {**old, **new} if name not in there]
    own = [(name, _changes(old[name].head, new[name].head)) for name in there]
    return moved + [f"task.members.{name}.head.{setting}" for name, settings in own for setting in settings]


def changes_of(before: DictConfig, cfg: DictConfig) -> list[str]:
    """Each setting that has another value than it had, as `optim.lr 0.003 -> 0.001`; secrets stay references."""
    old, new = (dict(_leaves(masked_config(each))) for each in (before, cfg))
    names = [name for name in {**old, **new} if name.partition(".")[0] not in OWN_WORDS]
    return [f"{name} {_said(name, old)} -> {_said(name, new)}" for name in names if old.get(name) != new.get(name)]


def _leaves(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by their full names; a list is one."""
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _said(name: str, settings: Mapping[str, Any]) -> str:
    return written(settings[name]) if name in settings else "(unset)"


def _check_longer(before: DictConfig, cfg: DictConfig, folder: RunFolder, step: int) -> None:
    """Raises UserError unless one of the limits that a finished run may have come to is now higher, or gone."""
    if str(OmegaConf.select(cfg, "optim._target_")).endswith(".counting") and not cfg.data.get("streaming"):
        raise UserError(
            f"resume={folder.path}: this run is finished at step {step}: it has counted all of its text. To add another one, "
            f"start a new run with init={folder.path} and set data."
        )
    limits = {key: OmegaConf.select(before, key) for key in LIMITS}
    limits = {key: limit for key, limit in limits.items() if limit is not None}
    raised = [key for key, limit in limits.items() if (OmegaConf.select(cfg, key) or math.inf) > limit]
    steps = cfg.trainer.get("max_steps")
    if not raised or (steps is not None and steps <= step):
        was = " or ".join(f"{key} (it was {limit:,})" for key, limit in limits.items())
        raise UserError(f"resume={folder.path}: this run is finished at step {step}. To train it longer, raise {was}.")


def _names_of_task(cfg: DictConfig, allow: Sequence[str]) -> list[str]:
    """Under which a checkpoint may hold where training stands in the data: the class, or those that a builder chooses from."""
    target = target_of(cfg.task, "task", allow)
    return [kind.__qualname__ for kind in getattr(target, "forms", (target,))]


def _read(checkpoint: Path, tasks: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The checkpoint with all that training needs to go on, and which of the tasks it is of. Raises UserError that says
    what to go on from instead."""
    try:
        content = read_checkpoint(checkpoint)
        task = next((name for name in tasks if name in content), tasks[0])
        lacking = [key for key in (*LIGHTNINGS_KEYS, task) if key not in content]
        lacking += [] if isinstance(content["manyheads"].get("step"), int) else ["manyheads.step"]
        if lacking:
            raise UserError(f"checkpoint {checkpoint} lacks {lacking[0]}: training cannot go on from it.")
    except UserError as error:
        others = sorted(file.name for file in checkpoint.parent.glob("*.ckpt") if file.name != checkpoint.name)
        remedy = f" To go on from {others[0]}, copy it over {checkpoint.name}." if others else ""
        raise UserError(f"{str(error).partition(' Beside it: ')[0]}{remedy}") from error
    return content, task


def _check_links(folder: RunFolder) -> None:
    """Raises UserError for a link that leads out of the folder: a resumed run would write to where it points."""
    for place in (folder.path, folder.path / "checkpoints"):
        for entry in place.iterdir() if place.is_dir() else ():
            if entry.is_symlink() and not entry.resolve().is_relative_to(folder.path):
                raise UserError(
                    f"resume={folder.path}: {entry.relative_to(folder.path)} is a link to {entry.resolve()}, outside of "
                    "the folder. Put what it points to in its place."
                )


def _changes(before: Any, now: Any) -> list[str]:
    """The names of the settings that differ."""
    old = OmegaConf.to_container(before, resolve=True) if before is not None else {}
    new = OmegaConf.to_container(now, resolve=True) if now is not None else {}
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    return [str(name) for name in {**old, **new} if old.get(name) != new.get(name)]
