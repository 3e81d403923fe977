"""Evaluation of a run: rebuilt from its checkpoint, scored by the path that training's last table took."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from manyheads import compatibility
from manyheads.build import build, check_tree
from manyheads.errors import UserError
from manyheads.lm import LM
from manyheads.load import find_checkpoint, read_checkpoint, read_tokenizer, rebuild
from manyheads.run.scoring import score
from manyheads.run.screen import scores_table, shown


def evaluate(cfg: DictConfig) -> dict[str, dict[str, float]]:
    """Scores a run's weights on its validation and test split, or on those of the data that overrides name.

    `cfg` is the run's own config with the overrides and the keys of conf/eval.yaml. Prints a table, writes it to `to`
    as JSON when that is set, and returns {"val": {...}, "test": {...}}.
    """
    console, allow = Console(highlight=False), list(cfg.allow)
    check_tree(cfg, allow)
    compatibility.check_shape(cfg, allow)
    checkpoint = find_checkpoint(cfg.run, cfg.checkpoint)
    tokenizer = read_tokenizer(read_checkpoint(checkpoint), checkpoint)
    make = functools.partial(build, allow=allow)
    source = make(cfg.data, "data")
    if cfg.stride is not None:
        cfg.task.stride = cfg.stride
    task = make(cfg.task, "task", source=source, tokenizer=tokenizer, seed=cfg.seed)
    network, head = rebuild(cfg, tokenizer, allow)
    lm = LM(network=network, head=head, metrics=task.metrics)
    trainer = make(cfg.trainer, "trainer", folder=checkpoint.parent, fixed=cfg.deterministic or None)
    if cfg.compile:
        network.compile()
    scores = score(trainer, lm, task, checkpoint)
    by_split = {
        stage: {name.partition("/")[2]: value for name, value in scores.items() if name.startswith(stage + "/")}
        for stage in ("val", "test")
    }
    console.print(f"{shown(checkpoint)} on {task.source.name}")
    for note in task.notes:
        console.print(f"[dim]note: {note}[/dim]")
    console.print(scores_table(by_split["val"], by_split["test"]))
    if cfg.to is not None:
        _write(Path(cfg.to), by_split)
    return by_split


def _write(path: Path, scores: dict[str, dict[str, float]]) -> None:
    if not path.parent.is_dir():
        raise UserError(f"to={path}: there is no folder {path.parent}. Make it, or set another file.")
    path.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
