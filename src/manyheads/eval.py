"""Evaluation of a run: rebuilt from its checkpoint, scored by the path that training's last table took."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads import compatibility, ranks
from manyheads.build import build
from manyheads.data.source import Source
from manyheads.data.together import Together
from manyheads.ensemble import read_saved, runs_of, together
from manyheads.errors import UserError, check_range, out_of_memory, written
from manyheads.launch import run_ranks
from manyheads.lm import LM
from manyheads.members import check_settings_of, is_mixture, members_of
from manyheads.model.regions import compile_blocks
from manyheads.rebuild import build_source, build_task, fill, rebuild
from manyheads.run.checkpoint import (
    data_note,
    find_checkpoint,
    read_checkpoint,
    read_run_config,
    read_tokenizer,
    settle_threshold,
)
from manyheads.run.console import RunConsole
from manyheads.run.output import Output
from manyheads.run.root import check_root
from manyheads.run.scoring import SPLITS, has_baselines, score, signatures
from manyheads.run.screen import shown, tell_notes, tell_scores, tell_signatures
from manyheads.strategy import OWN, check_network
from manyheads.trainer import is_on_gpu

UNUSED = ("tokenizer", "resume", "init", "embedding_from")
"""Keys of a run's config that only training reads: the checkpoint holds what they led to."""


def evaluate(cfg: DictConfig) -> dict[str, dict[str, float]]:
    """Scores a run's weights on its validation and test split, or on those of the data that overrides name.

    `cfg` is the run's own config with the overrides and the keys of conf/eval.yaml. Of other data than the run's, the
    splits that are there are scored, and data without any is a test split as a whole. Prints a table, writes it to `to`
    as JSON when that is set, and returns {"val": {...}, "test": {...}}, without the splits that are not there.
    """
    with ranks.joined(is_on_gpu(OmegaConf.select(cfg, "trainer.accelerator") or "auto")):
        with ranks.agreed():
            before, out, devices = _checked(cfg)
        if devices > 1 and not ranks.started():
            return run_ranks(f"{__name__}:{evaluate.__name__}", devices, cfg, {})
        return _evaluate(cfg, before, out if ranks.is_first() else None)


def _checked(cfg: DictConfig) -> tuple[DictConfig, Output | None, int]:
    """The run's own config, where the figures go, and the number of devices, after all that can be found out before data
    is read."""
    check_root(cfg)
    before, _ = read_run_config(cfg.run, "run")
    _check_used(cfg, before)
    out = None if cfg.to is None else Output(cfg.to, "to", "figures.json")
    check_settings_of(cfg, cfg.allow)
    network = compatibility.check_shape(cfg, cfg.allow)
    trainer = build(cfg.trainer, "trainer", allow=cfg.allow, folder=Path())
    check_network(trainer.strategy, network, compiled=cfg.compile)
    _check_ensemble(cfg)
    return before, out, trainer.world_size


def _evaluate(cfg: DictConfig, before: DictConfig, out: Output | None) -> dict[str, dict[str, float]]:
    checkpoint = find_checkpoint(cfg.run, cfg.checkpoint)
    content = read_checkpoint(checkpoint)
    source, notes, own = _source(cfg, before, content)
    stages = [stage for stage, split in SPLITS.items() if own or split in source.given]
    if "val" not in stages:
        settle_threshold(cfg, content["manyheads"])
    with out_of_memory("Lower task.batch_size or task.seq_len."):
        task, scores = _scores(cfg, source, checkpoint, content, stages)
    by_split = {
        stage: {name.partition("/")[2]: value for name, value in scores.items() if name.startswith(stage + "/")}
        for stage in stages
    }
    console = RunConsole(stderr=out is not None and out.is_stdout, quiet=not ranks.is_first())
    others = f" and {number} more, averaged," if (number := len(runs_of(cfg.ensemble))) else ""
    console.print(f"{shown(checkpoint)}{others} on {task.source.name}", markup=False)
    tell_notes(console, [*notes, *task.notes])
    ruled = own and "test" in stages and has_baselines(cfg) and ranks.is_first()
    directions = {
        metric.name: "higher" if metric.higher_is_better else "lower" for metric in compatibility.scores_of(task)
    }
    tell_scores(console, by_split, task.baselines("test") if ruled else {}, directions, cfg.callbacks.monitor)
    tell_signatures(console, signatures(task))
    if out is not None:
        with out.open() as file:
            file.write(json.dumps(by_split, indent=2) + "\n")
    return by_split


def _scores(
    cfg: DictConfig, source: Source, checkpoint: Path, content: dict[str, Any], stages: Sequence[str]
) -> tuple[Any, dict[str, float]]:
    """The task, and the scores `val/<name>` and `test/<name>`."""
    make = functools.partial(build, allow=list(cfg.allow))
    tokenizer = read_tokenizer(content, checkpoint)
    if cfg.stride is not None:
        cfg.task.stride = cfg.stride
    task = build_task(cfg, source, tokenizer)
    network, head = rebuild(cfg, tokenizer, cfg.allow)
    fill(content, checkpoint, network, head)
    if others := [
        read_saved(run, checkpoint=cfg.checkpoint, allow=cfg.allow, key="ensemble") for run in runs_of(cfg.ensemble)
    ]:
        network, head = together(network, head, tokenizer, others)
        if network.max_positions:
            task.check_positions(network.max_positions)
    lm = LM(network=network, head=head, metrics=task.metrics, outputs=task.outputs)
    trainer = make(cfg.trainer, "trainer", folder=checkpoint.parent, fixed=cfg.deterministic)
    if cfg.compile:
        compile_blocks(network)
    return task, score(trainer, lm, task, None, stages)


def _check_used(cfg: DictConfig, before: DictConfig) -> None:
    """Raises UserError for an override that would count for nothing, and for a stride that no row has room for."""
    for key in UNUSED:
        now = _plain(cfg, key)
        if now != _plain(before, key):
            said = key if isinstance(now, dict) else f"{key}={written(now)}"
            raise UserError(
                f"{said}: eval scores the weights of run={cfg.run} as they are, with the tokenizer that they were trained "
                f"with. Leave {key} out."
            )
    if cfg.stride is not None and cfg.task.get("seq_len") is not None:
        check_range("stride", cfg.stride, 1, cfg.task.seq_len, hint="The upper end is task.seq_len.")


def _check_ensemble(cfg: DictConfig) -> None:
    """Raises UserError for a run that is not there, and for what cannot be averaged."""
    runs = runs_of(cfg.ensemble)
    for run in runs:
        find_checkpoint(run, cfg.checkpoint, "ensemble")
    if runs and is_mixture(cfg):
        raise UserError("ensemble: run=FOLDER has several tasks, and eval averages runs of a single one. Leave it out.")
    if runs and cfg.trainer.get("strategy") in OWN:
        raise UserError(
            f"trainer.strategy={cfg.trainer.strategy}: runs that are averaged stand whole on each device. Set trainer=auto or ddp."
        )


def _source(cfg: DictConfig, before: DictConfig, content: dict[str, Any]) -> tuple[Source, list[str], bool]:
    """The data, what to say about it, and whether it is the run's own: only then its splits are cut as in training."""
    source = build_source(cfg)
    note = data_note(content["manyheads"], source)
    now, then = _data(cfg), _data(before)
    changed = {key for key in {*now, *then} if now.get(key) != then.get(key)}
    if note is None or not changed:
        return source, [note] if note else [], True
    others = {member for member, key in changed if key != "validation_fraction"}
    return uncut(source, others) if others else source, [], not others


def uncut(source: Source, members: Collection[str]) -> Source:
    """The data for scoring alone; of a mixture that of these members, and that of the others as it is."""
    if not isinstance(source, Together):
        return source.uncut()
    return Together({name: one.uncut() if name in members else one for name, one in source.members.items()})


def _data(cfg: DictConfig) -> dict[tuple[str, str], Any]:
    """The settings of the data by member and name."""
    members = members_of(cfg) or {"": cfg}
    return {(name, key): value for name, one in members.items() for key, value in _plain(one, "data").items()}


def _plain(cfg: DictConfig, key: str) -> Any:
    value = cfg.get(key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
