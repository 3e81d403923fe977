"""Evaluation of a run: rebuilt from its checkpoint, scored by the path that training's last table took."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from manyheads import compatibility
from manyheads.atomic import replacing
from manyheads.build import build, check_tree
from manyheads.lm import LM
from manyheads.load import rebuild
from manyheads.model.regions import compile_blocks
from manyheads.run.checkpoint import find_checkpoint, read_checkpoint, read_tokenizer
from manyheads.run.folder import writable_file
from manyheads.run.root import check_root
from manyheads.run.scoring import score
from manyheads.run.screen import scores_table, shown, tell_notes


def evaluate(cfg: DictConfig) -> dict[str, dict[str, float]]:
    """Scores a run's weights on its validation and test split, or on those of the data that overrides name.

    `cfg` is the run's own config with the overrides and the keys of conf/eval.yaml. Prints a table, writes it to `to`
    as JSON when that is set, and returns {"val": {...}, "test": {...}}.
    """
    check_root(cfg)
    console, allow = Console(highlight=False), list(cfg.allow)
    to = None if cfg.to is None else writable_file(cfg.to, "to", "figures.json")
    check_tree(cfg, allow)
    compatibility.check_shape(cfg, allow)
    build(cfg.trainer, "trainer", allow=allow, folder=Path())  # for its errors
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
        compile_blocks(network)
    scores = score(trainer, lm, task, checkpoint)
    by_split = {
        stage: {name.partition("/")[2]: value for name, value in scores.items() if name.startswith(stage + "/")}
        for stage in ("val", "test")
    }
    console.print(f"{shown(checkpoint)} on {task.source.name}", markup=False)
    tell_notes(console, task.notes)
    console.print(scores_table(by_split["val"], by_split["test"]))
    if to is not None:
        with replacing(to) as file:
            file.write(json.dumps(by_split, indent=2) + "\n")
    return by_split
