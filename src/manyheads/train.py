"""One training run, one page: build in dependency order, fit, score the best weights, leave the folder."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from manyheads import compatibility
from manyheads.build import CONF_DIR, build, check_tree, complete
from manyheads.callbacks.checkpoint_io import AtomicCheckpointIO
from manyheads.callbacks.throughput import Throughput
from manyheads.errors import Interrupted, check_range
from manyheads.lm import LM
from manyheads.load import load_weights, rebuild
from manyheads.logger.csv import CsvLog
from manyheads.logger.wandb import WandbLog
from manyheads.marks import callable_module
from manyheads.run import screen
from manyheads.run.compose import compose
from manyheads.run.composer import base_of
from manyheads.run.console import RunConsole
from manyheads.run.export import export
from manyheads.run.folder import RunFolder, make_run_folder, open_run_folder, unmade_on_error, write_config
from manyheads.run.record import Record
from manyheads.run.results import Results
from manyheads.run.resume import Resumed, check_resume
from manyheads.run.scoring import score, write_predictions
from manyheads.task.base import Task
from manyheads.trainer import budget

RUNS = Path("outputs/runs")


def train(cfg: DictConfig, folder: Path | None, choices: dict[str, str]) -> Results:
    """Trains what the config describes and returns the typed results, which are also in the run folder.

    `folder` is where a sweep wants the run; None makes a new one under outputs/runs. `choices` names the choice of each
    group. Raises UserError for what the user can mend, before any long work where that is possible, and Interrupted
    after a signal.
    """
    console, make = RunConsole(), functools.partial(build, allow=list(cfg.allow))
    cfg = _checked(cfg, choices)
    resumed = check_resume(cfg, open_run_folder(cfg.resume, "resume")) if cfg.resume else None

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    source = make(cfg.data, "data")
    tokenizer = resumed.tokenizer if resumed else make(cfg.tokenizer, "tokenizer", source=source)
    task = make(cfg.task, "task", source=source, tokenizer=tokenizer, seed=cfg.seed)
    task.prepare()
    network, head = rebuild(cfg, tokenizer, cfg.allow)
    if cfg.init:
        load_weights(cfg.init, cfg.checkpoint, network, head)
    optimization = functools.partial(make, cfg.optim, "optim")

    run = resumed.folder if resumed else _new_folder(folder, choices)
    with unmade_on_error(run, keep=resumed is not None):
        console.log_to(run.log)
        record = Record(run, cfg, choices, sys.argv, source=source, tokenizer=tokenizer, resumed=resumed)
        lm = LM(network=network, head=head, metrics=task.metrics, optimization=optimization, budget=budget(cfg.trainer),
                record=record.for_checkpoint(write_config(run, cfg, choices)))  # fmt: skip
        callbacks = make(cfg.callbacks, "callbacks", folder=run.path, metrics=task.metrics, task=task,
                         console=console, seed=cfg.seed)  # fmt: skip
        loggers = _loggers(cfg, make, run, record, resumed)
        trainer = make(cfg.trainer, "trainer", folder=run.path, callbacks=callbacks, loggers=loggers,
                       checkpoint_io=AtomicCheckpointIO(), fixed=cfg.deterministic or None)  # fmt: skip
    screen.header(console, cfg, choices, run, tokenizer, task, lm, trainer, resumed.step if resumed else None)
    if cfg.compile:
        network.compile()
    results = _fit(trainer, lm, task, record, resumed.checkpoint if resumed else None)
    export(run, network, head, tokenizer, results)
    screen.summary(console, run, results)
    console.close()
    return results


def _checked(cfg: DictConfig, choices: dict[str, str]) -> DictConfig:
    """The config with every default written out, after all that can be found out before data is read."""
    check_range("seed", cfg.seed, 0, 2**32 - 1)
    check_tree(cfg, cfg.allow)
    cfg = complete(cfg, cfg.allow)
    budget(cfg.trainer)
    compatibility.check(cfg, choices, cfg.allow)
    return cfg


def _new_folder(folder: Path | None, choices: dict[str, str]) -> RunFolder:
    return RunFolder(folder.resolve()) if folder else make_run_folder(RUNS, choices["task"], choices["model"])


def _loggers(cfg: DictConfig, make: Any, run: RunFolder, record: Record, resumed: Resumed | None) -> list[Logger]:
    """The CSV file, and one logger for each node under `logger`."""
    table = CsvLog(run.path)
    if resumed:
        table.drop_after(resumed.step)
    live = {"folder": run.path, "name": cfg.name or run.path.name, "tags": list(cfg.tags)}
    live |= {"config": record.public_config(), "run_id": record.wandb_id}
    nodes = [(name, node) for name, node in cfg.logger.items() if node]
    return [table, *(make(node, f"logger.{name}", **live) for name, node in nodes)]


def _fit(trainer: pl.Trainer, lm: LM, task: Task, record: Record, checkpoint: Path | None) -> Results:
    """Trains, scores the best weights, and leaves results.json and the loggers closed, however it ends."""
    loggers = list(trainer.loggers)
    clock = next(callback for callback in trainer.callbacks if isinstance(callback, Throughput))  # type: ignore[attr-defined]
    record.wandb_logger = next((logger for logger in loggers if isinstance(logger, WandbLog)), None)
    record.write("running", lm)
    try:
        trainer.fit(lm, datamodule=task, ckpt_path=checkpoint, weights_only=True)
        scores = score(trainer, lm, task, record.folder.checkpoint("best"))
    except BaseException as error:
        record.write("interrupted" if isinstance(error, Interrupted) else "failed", lm, lm.scores, clock.seconds())
        _close(loggers, failed=not isinstance(error, Interrupted))
        raise
    write_predictions(record.folder.predictions, task, lm)
    results = record.write("done", lm, scores, clock.seconds())
    for logger in loggers:
        logger.log_metrics({name: value for name, value in scores.items() if name.startswith("test/")}, lm.steps_done)
    _close(loggers)
    return results


def _close(loggers: Sequence[Logger], failed: bool = False) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLog):
            logger.close(failed=failed)


def from_overrides(overrides: Sequence[str] = ()) -> Results:
    """`manyheads.train(overrides=["model=tiny", ...])`: trains what a command line with these words would train."""
    config, choices = compose("train", list(overrides), CONF_DIR, base_of(overrides, "resume"))
    return train(config, None, choices)


callable_module(__name__, from_overrides)
