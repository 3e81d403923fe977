"""Scores of trained weights: the one path by which training's last table and `eval.py` get their figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from manyheads.atomic import replacing
from manyheads.callbacks.interrupt import Interrupt
from manyheads.lm import LM
from manyheads.logger.base import LogsPages
from manyheads.rebuild import fill
from manyheads.run.checkpoint import read_checkpoint
from manyheads.run.folder import RunFolder
from manyheads.task.base import Scored, Task

SPLITS = {"val": "validation", "test": "test"}
"""The split that each part of the scores is of."""


def has_baselines(cfg: DictConfig) -> bool:
    """Whether simple rules are scored beside the model: where the config does not leave them out, and all of test is scored,
    as it is by rules."""
    limit = OmegaConf.select(cfg, "trainer.limit_test_batches")
    # a run from before the key baselines existed can be resumed
    return cfg.get("baselines", True) and (limit is None or (limit == 1.0 and isinstance(limit, float)))


def score(
    trainer: pl.Trainer, lm: LM, task: Task, checkpoint: Path | None, stages: Sequence[str] = ("val", "test")
) -> dict[str, float]:
    """The scores `val/<name>` and `test/<name>` of a checkpoint's weights, or of those that are there.

    Loggers and callbacks of a training are left out, for they have their own steps; only a signal is still heard.
    """
    trainer.callbacks = [c for c in trainer.callbacks if isinstance(c, Interrupt)]  # type: ignore[attr-defined]
    trainer.loggers = []
    if checkpoint is not None:
        fill(read_checkpoint(checkpoint), checkpoint, lm.network, lm.head)
    scores: dict[str, float] = {}
    for stage in stages:
        run = trainer.validate if stage == "val" else trainer.test
        run(lm, datamodule=task, verbose=False)
        scores |= {name: value for name, value in lm.scores.items() if name.startswith(stage + "/")}
        split, found = SPLITS[stage], scored(lm)
        parts = {**task.of_split(split, found), **task.by_source(split, found)}
        scores |= {f"{stage}/{name}": value for name, value in parts.items()}
    return scores


def signatures(task: Task) -> dict[str, dict[str, str]]:
    """How the scores of val and test were computed, by the names of those that say it."""
    return {stage: task.signatures[split] for stage, split in SPLITS.items() if task.signatures.get(split)}


def scored(lm: LM) -> Scored:
    """What the model was found to say of the split that was scored last."""
    return Scored(lm.examples.loss, lm.examples.count, lm.outputs, lm.stretches.loss, lm.stretches.count)


def write_predictions(path: Path, task: Task, lm: LM) -> None:
    """One JSON line for each example of the test split, in the split's order."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        for row in task.predictions(scored(lm)):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def log_pages(loggers: Iterable[Logger], pages: Mapping[str, Path], step: int) -> None:
    """Hands the pages to the loggers that take HTML, as `test/<name>`."""
    for logger in loggers:
        if isinstance(logger, LogsPages):
            for name, path in pages.items():
                logger.log_page(f"test/{name}", path, step)


def write_pages(folder: RunFolder, task: Task, lm: LM) -> dict[str, Path]:
    """The pages of HTML that the task has about the test split, written beside the predictions: the path of each by name."""
    written = {}
    for name, write in task.pages(scored(lm)).items():
        written[name] = folder.page(name)
        write(written[name])
    return written
