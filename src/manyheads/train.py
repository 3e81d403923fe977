"""One training run, one page: build in dependency order, fit, score the best weights, leave the folder."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads import compatibility, ranks, sharded
from manyheads.atomic import clear_unfinished
from manyheads.build import CONF_DIR, build, target_of
from manyheads.callbacks.build import check_monitor
from manyheads.callbacks.checkpoint_io import AtomicCheckpointIO
from manyheads.callbacks.interrupt import resume_command
from manyheads.callbacks.samples import scores_of_best
from manyheads.callbacks.throughput import Throughput
from manyheads.checked import check_countable, checked
from manyheads.data.source import Source
from manyheads.errors import Interrupted, UserError
from manyheads.head.base import Head
from manyheads.launch import train_ranks
from manyheads.lm import LM
from manyheads.logger.build import close_all, loggers_of
from manyheads.marks import callable_module
from manyheads.members import data_choice
from manyheads.model.regions import compile_blocks, recompute_blocks
from manyheads.rebuild import build_source, build_task, load_weights, load_words, rebuild, rebuilt
from manyheads.run import screen
from manyheads.run.base import base_of
from manyheads.run.checkpoint import find_checkpoint, read_checkpoint, read_tokenizer
from manyheads.run.compose import compose
from manyheads.run.console import RunConsole
from manyheads.run.export import export
from manyheads.run.folder import (
    RUNS,
    RunFolder,
    check_writable,
    config_text,
    make_run_folder,
    open_run_folder,
    parse_config,
    unmade_on_error,
    write_config,
)
from manyheads.run.held import held
from manyheads.run.record import Record
from manyheads.run.results import Results, Status
from manyheads.run.resume import Resumed, check_resume
from manyheads.run.scoring import has_baselines, log_pages, score, signatures, write_pages, write_predictions
from manyheads.signature import parameters
from manyheads.strategy import expect_unused
from manyheads.task.base import Task
from manyheads.tokenizer.base import Tokenizer
from manyheads.trainer import budget, is_on_gpu


def train(cfg: DictConfig, folder: Path | None, choices: dict[str, str], argv: Sequence[str] | None = None) -> Results:
    """Trains what the config describes and returns the typed results, which are also in the run folder.

    `folder` is where a sweep wants the run; None makes a new one under outputs/runs. `choices` names the choice of each
    group, `argv` what the record calls the command; None is this process's command line. Raises UserError for what the
    user can mend, before any long work where that is possible, and Interrupted after a signal.
    """
    argv = argv or sys.argv
    with ranks.joined(is_on_gpu(OmegaConf.select(cfg, "trainer.accelerator") or "auto")):
        with ranks.agreed():
            cfg, devices = checked(cfg, choices)
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
    notes: list[str]  # of the weights that it starts from


def _train(cfg: DictConfig, folder: Path | None, choices: dict[str, str], argv: Sequence[str]) -> Results:
    console, make = RunConsole(quiet=not ranks.is_first()), functools.partial(build, allow=list(cfg.allow))
    with ranks.agreed():
        resumed, source, tokenizer, task, network, head, notes = _parts(cfg, folder, choices, make)
    run = _shared_folder(folder, choices, resumed)
    with contextlib.ExitStack() as whole:
        with ranks.agreed():
            if ranks.is_first():
                whole.enter_context(held(run))
        whole.enter_context(contextlib.closing(console))
        with unmade_on_error(run, keep=resumed is not None or not ranks.is_first()), ranks.agreed():
            if ranks.is_first():
                clear_unfinished(run.path)
                run.keep(source.reports)  # before the notes, which tell what is in them
            console.log_to(run.log(ranks.rank()))
            metrics = compatibility.scores_of(task)
            named = {**choices, "data": data_choice(cfg, choices)}
            record = Record(run, cfg, named, argv, source=source, tokenizer=tokenizer, metrics=metrics,
                            notes=[*task.notes, *notes], resumed=resumed)  # fmt: skip
            text = config_text(cfg, choices)
            lm = LM(network=network, head=head, metrics=task.metrics, budget=budget(cfg.trainer),
                    optimization=functools.partial(make, cfg.optim, "optim"),
                    record=record.for_checkpoint(text), outputs=task.outputs)  # fmt: skip
            callbacks = make(cfg.callbacks, "callbacks", folder=run.path, metrics=metrics, task=task,
                             console=console, seed=cfg.seed)  # fmt: skip
            loggers = loggers_of(cfg, make, run, record, resumed)
            trainer = make(cfg.trainer, "trainer", folder=run.path, callbacks=callbacks, loggers=loggers,
                           checkpoint_io=AtomicCheckpointIO(), fixed=cfg.deterministic)  # fmt: skip
            if head.partial:
                expect_unused(trainer.strategy)
            if cfg.compile:
                compile_blocks(network)
            if ranks.is_first():
                screen.header(console, cfg, named, run, tokenizer, task, lm, trainer, resumed, notes)
                write_config(run, text)  # last: a resume that is refused leaves the folder as it was
        start = resumed.checkpoint if resumed else None
        results = _fit(trainer, lm, task, record, start, with_baselines=has_baselines(cfg),
                       export=functools.partial(_export, cfg, lm, run, tokenizer))  # fmt: skip
        if ranks.is_first():
            screen.tell_notes(console, task.closing_notes)
            screen.summary(console, run, results, cfg.callbacks.monitor, task.first_try)
        return results


def _parts(cfg: DictConfig, folder: Path | None, choices: dict[str, str], make: Any) -> _Parts:
    """Data, tokenizer, task and network, with the weights that they start from."""
    resumed = check_resume(cfg, open_run_folder(cfg.resume, "resume")) if cfg.resume else None
    cfg.resume = None  # it names a place, and a run folder can be moved
    check_writable(resumed.folder.path if resumed else folder or RUNS)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    source = build_source(cfg)
    check_countable(cfg, source)
    tokenizer = _given_tokenizer(cfg, choices, resumed) or make(cfg.tokenizer, "tokenizer", source=source)
    task = build_task(cfg, source, tokenizer)
    task.prepare()
    monitor = cfg.callbacks.monitor or task.monitor
    check_monitor(monitor, compatibility.scores_of(task))
    task.watch(monitor)
    settle(cfg, {"callbacks": {"monitor": monitor}, **task.found})
    tokenizer = task.tokenizer
    network, head = rebuild(cfg, tokenizer, cfg.allow)
    if every := cfg.get("activation_checkpointing"):  # a run from before this key existed can be resumed
        recompute_blocks(network, every)
    start = resumed.checkpoint if resumed else cfg.init
    notes = load_weights(start, cfg.checkpoint, network, head, cfg.allow) if start else []
    if (words := cfg.get("embedding_from")) and not start:  # a run from before this key existed can be resumed
        notes = load_words(words, network, tokenizer, cfg.allow)
    return _Parts(resumed, source, tokenizer, task, network, head, notes)


def settle(cfg: DictConfig, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes into the config what only the data could tell, by group or place, where there is a setting for it."""
    for place, settings in found.items():
        node = OmegaConf.select(cfg, place)
        known = parameters(target_of(node, place, cfg.allow))
        for name, value in settings.items():
            if name in known:
                node[name] = value


def _given_tokenizer(cfg: DictConfig, choices: dict[str, str], resumed: Resumed | None) -> Tokenizer | None:
    """The tokenizer that the weights to start from were trained with; with another they would mean nothing.

    The config and the choices are made to say so.
    """
    if resumed or not cfg.init:
        return resumed.tokenizer if resumed else None
    file = find_checkpoint(cfg.init, cfg.checkpoint, "init")
    content = read_checkpoint(file)
    config, stamp = parse_config(content["manyheads"]["config"], str(file))
    if "tokenizer" not in config:
        raise UserError(
            f"init={cfg.init}: the config in {file} names no tokenizer. Set init to the folder of a whole run."
        )
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


def _fit(
    trainer: pl.Trainer, lm: LM, task: Task, record: Record, checkpoint: Path | None, *, with_baselines: bool,
    export: Callable[[Results], None],
) -> Results:  # fmt: skip
    """Trains, scores and exports the best weights, and leaves results.json and the loggers closed, however it ends. That it
    is done is written when all else is there: until then a run that was killed can be resumed."""
    loggers, callbacks, scores = list(trainer.loggers), list(trainer.callbacks), dict[str, float]()  # type: ignore[attr-defined]
    clock = next(callback for callback in callbacks if isinstance(callback, Throughput))
    record.loggers = loggers
    record.write("running", lm)
    try:
        trainer.fit(lm, datamodule=task, ckpt_path=checkpoint, weights_only=True)
        scores = score(trainer, lm, task, record.folder.checkpoint("best"))
        record.provenance["notes"] += task.closing_notes
        record.signatures, record.samples = signatures(task), scores_of_best(callbacks)
        if ranks.is_first():
            write_predictions(record.folder.predictions, task, lm)
            pages = write_pages(record.folder, task, lm)
            record.baselines = task.baselines("test") if with_baselines else {}
            export(record.results("done", lm, scores, clock.seconds()))
            log_pages(loggers, pages, lm.steps_done)
        for logger in loggers:
            logger.log_metrics({name: scores[name] for name in scores if name.startswith("test/")}, lm.steps_done)
        results = record.write("done", lm, scores, clock.seconds())
    except BaseException as error:
        status: Status = "interrupted" if isinstance(error, Interrupted) else "failed"
        if record.folder.checkpoint("last").is_file():
            error.add_note(f"Go on from the last checkpoint with: {resume_command(record.folder.path)}")
        with contextlib.suppress(OSError):  # of a full disk the first complaint says more
            record.write(status, lm, scores or lm.scores, clock.seconds())
        close_all(loggers, status)
        raise
    close_all(loggers, "done")
    return results


def _export(cfg: DictConfig, lm: LM, run: RunFolder, tokenizer: Tokenizer, results: Results) -> None:
    # of weights that are sharded this rank holds a part
    network, head = rebuilt(cfg, tokenizer, run.path) if sharded.is_sharded(lm) else (lm.network, lm.head)
    export(run, network, head, tokenizer, results)


def from_overrides(overrides: Sequence[str] = ()) -> Results:
    """`manyheads.train(overrides=["model=tiny", ...])`: trains what a command line with these words would train."""
    config, choices = compose("train", overrides, CONF_DIR, base_of(overrides, "resume"))
    return train(config, None, choices, ["manyheads.train", *overrides])


callable_module(__name__, from_overrides)
