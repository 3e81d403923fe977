"""One training run, one page: build in dependency order, fit, score the best weights, leave the folder."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from torch import nn

from manyheads import compatibility, ranks, sharded
from manyheads.atomic import clear_unfinished
from manyheads.build import CONF_DIR, build, check_installed, check_tree, complete, target_of
from manyheads.callbacks.checkpoint_io import AtomicCheckpointIO
from manyheads.callbacks.interrupt import resume_command
from manyheads.callbacks.throughput import Throughput
from manyheads.data.source import Source
from manyheads.errors import Interrupted, UserError
from manyheads.head.base import Head
from manyheads.launch import train_ranks
from manyheads.lm import LM
from manyheads.load import build_task, fill, load_weights, rebuild
from manyheads.logger.base import RunLogger
from manyheads.logger.csv import CsvLog
from manyheads.marks import callable_module
from manyheads.model.regions import compile_blocks, recompute_blocks
from manyheads.run import screen
from manyheads.run.checkpoint import find_checkpoint, read_checkpoint, read_tokenizer
from manyheads.run.compose import compose
from manyheads.run.composer import base_of
from manyheads.run.console import RunConsole
from manyheads.run.export import export
from manyheads.run.folder import (
    RunFolder,
    check_writable,
    config_text,
    make_run_folder,
    open_run_folder,
    parse_config,
    unmade_on_error,
    write_config,
)
from manyheads.run.record import Record
from manyheads.run.results import Results, Status
from manyheads.run.resume import Resumed, check_resume
from manyheads.run.root import check_root
from manyheads.run.scoring import score, signatures, write_predictions
from manyheads.signature import parameters
from manyheads.strategy import OWN, check_network
from manyheads.task.base import Task
from manyheads.tokenizer.base import Tokenizer
from manyheads.trainer import budget, is_on_gpu

RUNS = Path("outputs/runs")

LIGHTNINGS_FOLDERS = ("save_dir", "root_dir")
"""Where Lightning's own loggers write, by their arguments: into the run's folder, whatever a config from elsewhere says."""


def train(cfg: DictConfig, folder: Path | None, choices: dict[str, str], argv: Sequence[str] | None = None) -> Results:
    """Trains what the config describes and returns the typed results, which are also in the run folder.

    `folder` is where a sweep wants the run; None makes a new one under outputs/runs. `choices` names the choice of each
    group, `argv` what the record calls the command; None is this process's command line. Raises UserError for what the
    user can mend, before any long work where that is possible, and Interrupted after a signal.
    """
    argv = argv or sys.argv
    with ranks.joined(is_on_gpu(OmegaConf.select(cfg, "trainer.accelerator") or "auto")):
        with ranks.agreed():
            cfg, devices = _checked(cfg, choices)
        if devices > 1 and not ranks.started():
            return train_ranks(devices, cfg, folder, choices, argv)
        return _train(cfg, folder, choices, argv)


def train_rank(cfg: DictConfig, folder: str | None, choices: dict[str, str], argv: Sequence[str]) -> Results:
    """One rank's part in a run on several devices."""
    return train(cfg, folder and Path(folder), choices, argv)  # type: ignore[arg-type]


class _Parts(NamedTuple):
    """What is there before the run has a folder."""

    resumed: Resumed | None
    source: Source
    tokenizer: Tokenizer
    task: Task
    network: nn.Module
    head: Head


def _train(cfg: DictConfig, folder: Path | None, choices: dict[str, str], argv: Sequence[str]) -> Results:
    console, make = RunConsole(quiet=not ranks.is_first()), functools.partial(build, allow=list(cfg.allow))
    with ranks.agreed():
        resumed, source, tokenizer, task, network, head = _parts(cfg, folder, choices, make)
    run = _shared_folder(folder, choices, resumed)
    with contextlib.closing(console):
        with unmade_on_error(run, keep=resumed is not None or not ranks.is_first()), ranks.agreed():
            if ranks.is_first():
                clear_unfinished(run.path)
                run.keep(source.reports)  # before the notes, which tell what is in them
            console.log_to(run.log(ranks.rank()))
            metrics = compatibility.scores_of(task)
            record = Record(run, cfg, choices, argv, source=source, tokenizer=tokenizer, metrics=metrics,
                            notes=task.notes, resumed=resumed)  # fmt: skip
            text = config_text(cfg, choices)
            lm = LM(network=network, head=head, metrics=task.metrics, budget=budget(cfg.trainer),
                    optimization=functools.partial(make, cfg.optim, "optim"),
                    record=record.for_checkpoint(text), outputs=task.outputs)  # fmt: skip
            callbacks = make(cfg.callbacks, "callbacks", folder=run.path, metrics=metrics, task=task,
                             console=console, seed=cfg.seed)  # fmt: skip
            loggers = _loggers(cfg, make, run, record, resumed)
            trainer = make(cfg.trainer, "trainer", folder=run.path, callbacks=callbacks, loggers=loggers,
                           checkpoint_io=AtomicCheckpointIO(), fixed=cfg.deterministic or None)  # fmt: skip
            if cfg.compile:
                compile_blocks(network)
            if ranks.is_first():
                screen.header(console, cfg, choices, run, tokenizer, task, lm, trainer, resumed)
                write_config(run, text)  # last: a resume that is refused leaves the folder as it was
        results = _fit(trainer, lm, task, record, resumed.checkpoint if resumed else None)
        if ranks.is_first():
            if sharded.is_sharded(lm):
                network, head = _whole(cfg, tokenizer, run.checkpoint("best"))
            export(run, network, head, tokenizer, results)
            screen.tell_notes(console, task.closing_notes)
            screen.summary(console, run, results)
        return results


def _parts(cfg: DictConfig, folder: Path | None, choices: dict[str, str], make: Any) -> _Parts:
    """Data, tokenizer, task and network, with the weights that they start from."""
    resumed = check_resume(cfg, open_run_folder(cfg.resume, "resume")) if cfg.resume else None
    cfg.resume = None  # it names a place, and a run folder can be moved
    check_writable(resumed.folder.path if resumed else folder or RUNS)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    source = make(cfg.data, "data")
    source.ask(target_of(cfg.task, "task", cfg.allow).fields)  # type: ignore[attr-defined]
    _check_countable(cfg, source)
    tokenizer = _given_tokenizer(cfg, choices, resumed) or make(cfg.tokenizer, "tokenizer", source=source)
    task = build_task(cfg, source, tokenizer)
    task.prepare()
    monitor = cfg.callbacks.monitor or task.monitor
    task.watch(monitor)
    settle(cfg, {"callbacks": {"monitor": monitor}, **task.found})
    tokenizer = task.tokenizer
    network, head = rebuild(cfg, tokenizer, cfg.allow)
    if every := cfg.get("activation_checkpointing"):  # a run from before this key existed can be resumed
        recompute_blocks(network, every)
    if start := resumed.checkpoint if resumed else cfg.init:
        load_weights(start, cfg.checkpoint, network, head)
    return _Parts(resumed, source, tokenizer, task, network, head)


def _checked(cfg: DictConfig, choices: dict[str, str]) -> tuple[DictConfig, int]:
    """The config with every default written out, and the number of devices, after all that can be found out before data
    is read."""
    check_root(cfg)
    check_tree(cfg, cfg.allow)
    cfg = complete(cfg, cfg.allow)
    budget(cfg.trainer)
    network = compatibility.check(cfg, choices, cfg.allow)
    made = build(cfg.trainer, "trainer", allow=cfg.allow, folder=Path())
    devices = made.world_size
    check_network(made.strategy, network, compiled=cfg.compile)
    _check_alone(cfg, devices)
    for name, node in cfg.logger.items():
        if node:
            check_installed(node, f"logger.{name}", cfg.allow)
    return cfg, devices


def _check_alone(cfg: DictConfig, devices: int) -> None:
    """Raises UserError for what one device with all weights must do, and for machines that nothing has started."""
    strategy = cfg.trainer.get("strategy")
    for name in ("find_lr", "find_batch_size"):
        if cfg.callbacks.get(name) and devices > 1:
            raise UserError(f"callbacks.{name}=true looks on one device, not {devices}: set trainer.devices=1.")
        if cfg.callbacks.get(name) and strategy in OWN:
            raise UserError(f"callbacks.{name}=true does not go with trainer.strategy={strategy}: set trainer=auto.")
    if devices == 1:
        return
    if cfg.trainer.get("num_nodes", 1) > 1 and not ranks.started():
        raise UserError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}: on each machine, start it with torchrun --nnodes "
            f"{cfg.trainer.num_nodes} --nproc-per-node DEVICES --rdzv-endpoint HOST:PORT train.py ..."
        )


def settle(cfg: DictConfig, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes into the config what only the data could tell, where there is a setting for it."""
    for group, settings in found.items():
        known = parameters(target_of(cfg[group], group, cfg.allow))
        for name, value in settings.items():
            if name in known:
                cfg[group][name] = value


def _check_countable(cfg: DictConfig, source: Source) -> None:
    """Raises UserError for a setting that counts in epochs, when the data is a stream."""
    if source.stream() is None:
        return
    epochs, limit = cfg.trainer.get("max_epochs"), cfg.trainer.get("limit_train_batches")
    why = "data.streaming=true: how long an epoch is comes out only at its end."
    if epochs not in (None, -1):
        raise UserError(f"trainer.max_epochs={epochs}: {why} Set trainer.max_steps, max_tokens or max_minutes instead.")
    if isinstance(limit, float):
        raise UserError(f"trainer.limit_train_batches={limit}: {why} Set a whole number of batches.")


def _given_tokenizer(cfg: DictConfig, choices: dict[str, str], resumed: Resumed | None) -> Tokenizer | None:
    """The tokenizer that the weights to start from were trained with; with another they would mean nothing.

    The config and the choices are made to say so.
    """
    if resumed or not cfg.init:
        return resumed.tokenizer if resumed else None
    file = find_checkpoint(cfg.init, cfg.checkpoint, "init")
    content = read_checkpoint(file)
    config, stamp = parse_config(content["manyheads"]["config"], str(file))
    cfg.tokenizer = config.tokenizer
    choices["tokenizer"] = dict(stamp.get("choices") or {}).get("tokenizer", "custom")
    return read_tokenizer(content, file)


def _shared_folder(folder: Path | None, choices: dict[str, str], resumed: Resumed | None) -> RunFolder:
    """The one folder of all ranks."""
    run = RunFolder(Path())
    with ranks.agreed():
        if resumed or folder:
            run = resumed.folder if resumed else RunFolder(folder.resolve())  # type: ignore[union-attr]
        elif ranks.is_first():
            # a choice in a folder of its group is called my/net
            run = make_run_folder(RUNS, choices["task"].replace("/", "-"), choices["model"].replace("/", "-"))
    return RunFolder(Path(ranks.from_first(lambda: str(run.path))))


def _loggers(cfg: DictConfig, make: Any, run: RunFolder, record: Record, resumed: Resumed | None) -> list[Logger]:
    """The CSV file, and one logger for each node under `logger`."""
    table = CsvLog(run.path)
    history: list[dict[str, float]] = []
    if resumed:
        table.drop_after(resumed.step)
        history = table.rows()
    live = {"folder": run.path, "name": cfg.name or run.path.name, "tags": list(cfg.tags)}
    live |= {"config": record.public_config(), "history": history, **record.logger_ids}
    live |= {"resumed_step": resumed.step if resumed else None}
    live |= dict.fromkeys(LIGHTNINGS_FOLDERS, str(run.path))
    return [table, *(_logger(node, f"logger.{name}", cfg, make, live) for name, node in cfg.logger.items() if node)]


def _logger(node: DictConfig, key: str, cfg: DictConfig, make: Any, live: dict[str, Any]) -> Logger:
    """The logger of a node, given what of ours its signature has: one of Lightning's knows no folder."""
    known = parameters(target_of(node, key, cfg.allow))
    try:
        return make(node, key, **{name: value for name, value in live.items() if name in known})
    except ModuleNotFoundError as error:
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error


def _fit(trainer: pl.Trainer, lm: LM, task: Task, record: Record, checkpoint: Path | None) -> Results:
    """Trains, scores the best weights, and leaves results.json and the loggers closed, however it ends."""
    loggers = list(trainer.loggers)
    clock = next(callback for callback in trainer.callbacks if isinstance(callback, Throughput))  # type: ignore[attr-defined]
    record.loggers = loggers
    record.write("running", lm)
    try:
        trainer.fit(lm, datamodule=task, ckpt_path=checkpoint, weights_only=True)
        scores = score(trainer, lm, task, record.folder.checkpoint("best"))
        if ranks.is_first():
            write_predictions(record.folder.predictions, task, lm)
    except BaseException as error:
        status: Status = "interrupted" if isinstance(error, Interrupted) else "failed"
        if record.folder.checkpoint("last").is_file():
            error.add_note(f"Go on from the last checkpoint with: {resume_command(record.folder.path)}")
        with contextlib.suppress(OSError):  # of a full disk the first complaint says more
            record.write(status, lm, lm.scores, clock.seconds())
        _close(loggers, status)
        raise
    record.provenance["notes"] += task.closing_notes
    results = record.write("done", lm, scores, clock.seconds(), signatures(task))
    for logger in loggers:
        logger.log_metrics({name: value for name, value in scores.items() if name.startswith("test/")}, lm.steps_done)
    _close(loggers, "done")
    return results


def _whole(cfg: DictConfig, tokenizer: Tokenizer, checkpoint: Path) -> tuple[nn.Module, Head]:
    """Network and head with a checkpoint's weights, where this rank holds only a part of them."""
    network, head = rebuild(cfg, tokenizer, cfg.allow)
    fill(read_checkpoint(checkpoint), checkpoint, network, head)
    return network, head


def _close(loggers: Sequence[Logger], status: Status) -> None:
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.close(status)


def from_overrides(overrides: Sequence[str] = ()) -> Results:
    """`manyheads.train(overrides=["model=tiny", ...])`: trains what a command line with these words would train."""
    config, choices = compose("train", overrides, CONF_DIR, base_of(overrides, "resume"))
    return train(config, None, choices, ["manyheads.train", *overrides])


callable_module(__name__, from_overrides)
