"""What a run says at its start and at its end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manyheads.data.loader import others
from manyheads.lm import LM
from manyheads.run.checkpoint import data_note
from manyheads.run.folder import RunFolder
from manyheads.run.provenance import device_name
from manyheads.run.results import Results, value_of
from manyheads.run.resume import Resumed
from manyheads.run.secrets import mask
from manyheads.run.table import size_text
from manyheads.run.typed import assignment, command, shown
from manyheads.task.base import SplitSize, Task
from manyheads.threads import threads_note
from manyheads.tokenizer.base import Tokenizer

Scores = Mapping[str, float | None]
"""Of one split, by the names of the metrics."""

MOST_COLUMNS = 4
"""Scores that stand beside each other; more of them stand below each other."""

ADAM_BYTES = 16  # a float32 weight, its gradient and two moments (Kingma and Ba 2015)


def header(
    console: Console,
    cfg: DictConfig,
    choices: dict[str, str],
    run: RunFolder,
    tokenizer: Tokenizer,
    task: Task,
    lm: LM,
    trainer: pl.Trainer,
    resumed: Resumed | None = None,
    notes: Iterable[str] = (),
) -> None:
    """What is being trained: task, data, tokenizer, network, optimizer and budget, device, folder."""
    parameters, device = sum(p.numel() for p in lm.parameters()), trainer.strategy.root_device
    memory = f"{size_text(4 * parameters)}, {size_text(ADAM_BYTES * parameters)} with gradients and optimizer"
    devices = trainer.world_size
    several = _readers(devices, (trainer.distributed_sampler_kwargs or {}).get("num_replicas", 1))
    where = f"{devices} x {device.type}" if devices > 1 else device.type
    how = f", {strategy_name(cfg, trainer)}" if devices > 1 else ""
    rows = {
        "task": f"{choices['task']}, {task.summary}{several}",
        "data": f"{choices['data']}: " + "\n".join(_split(name, size) for name, size in task.describe().items()),
        "tokenizer": f"{tokenizer.name}, vocabulary of {tokenizer.vocab_size:,}",
        "network": f"{choices['model']}: {parameters:,} parameters ({memory})"
        if parameters
        else f"{choices['model']}, which counts",
        "optimizer": f"{choices['optim']}, {_budget(cfg)}",
        "device": f"{where}: {device_name(device)}, {trainer.precision}{how}",
        "folder": shown(run.path),
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for name, text in rows.items():
        table.add_row(name, Text(text))  # not as markup: a folder may be called [b]
    console.print(table)
    changed = data_note(resumed.record, task.source) if resumed else None
    before = value_of(resumed.results, "run/threads") if resumed and resumed.results else None
    told = [*task.notes, *notes, *([changed] if changed else []), *threads_note(cfg.trainer.get("threads"), before)]
    tell_notes(console, [*told, *_warmup_note(cfg)])
    if resumed:
        _tell_resumed(console, cfg, resumed, task)
    console.print()


def _readers(devices: int, replicas: int) -> str:
    """Of whom a batch is, where there are several devices."""
    if devices == 1:
        return ""
    if replicas == 1:
        return f" of {devices} devices together"
    return f" of each of {replicas} {'devices' if replicas == devices else f'groups of {devices // replicas} devices'}"


def strategy_name(cfg: DictConfig, trainer: pl.Trainer) -> str:
    """How several devices work together, as `trainer.strategy` names it."""
    asked = cfg.trainer.get("strategy", "auto")
    return asked if asked != "auto" else type(trainer.strategy).__name__.removesuffix("Strategy").lower()


def _tell_resumed(console: Console, cfg: DictConfig, resumed: Resumed, task: Task) -> None:
    """From where a run goes on, with which settings that are new, and what is not as it would have been."""
    lines = [f"Resuming after step {resumed.step}."]
    if limit := cfg.trainer.get("max_minutes"):
        used = resumed.record.get("budget", {}).get("seconds", 0.0) / 60
        lines.append(
            f"The schedule goes on from the {used:.1f} of {limit:g} minutes that are used: by a clock, so not to the bit."
        )
    if resumed.changes:
        lines.append(f"changed: {', '.join(resumed.changes)}")
    if others(resumed.place, task.made_of):
        lines.append("The training rows or their order are others than before: this epoch begins anew with them.")
    for line in lines:
        console.print(Text(mask(line)), soft_wrap=not console.is_terminal)


def tell_notes(console: Console, notes: Iterable[str]) -> None:
    """What the user should know about the data, a line each."""
    for note in notes:
        console.print(Text(f"note: {mask(note)}", style="dim"))


def scores_table(val: Scores, test: Scores, weights: str = "", baselines: Mapping[str, Scores] | None = None) -> Table:
    """The scores of validation and test, a line each, or of many scores a column each, and so those of each baseline on
    the test split; None stands for a number that is not finite. `weights`: whose they are."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column(weights, no_wrap=True)
    splits = {split: scores for split, scores in (("validation", val), ("test", test)) if scores}
    rules = {name.replace("_", " "): scores for name, scores in (baselines or {}).items()}
    names = list(dict.fromkeys([*test, *val]))  # a split that is scored in part lacks some
    if len(names) > MOST_COLUMNS:
        for split in splits:
            table.add_column(split, justify="right")
        for rule in rules:
            table.add_column(Text(rule), justify="right", style="dim")
        for name in names:
            found = (*splits.values(), *rules.values())
            table.add_row(name.replace("_", " "), *(_number(scores.get(name)) for scores in found))
        return table
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for split, scores in splits.items():
        table.add_row(split, *(_number(scores.get(name)) for name in names))
    for rule, scores in rules.items():
        table.add_row(Text(rule), *(_number(scores.get(name)) for name in names), style="dim")
    return table


def _number(value: float | None) -> str:
    """Four decimals; from a million on, where a table would have no room for them, also a power of ten."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4e}"


def below_baselines(
    test: Scores, baselines: Mapping[str, Scores], directions: Mapping[str, str], metric: str
) -> str | None:
    """A sentence when a baseline is better than the model on the test split; None when none is.

    They are compared by `metric`, or, where no baseline has it, by the first that they have.
    """
    known = list(dict.fromkeys(name for scores in baselines.values() for name in scores))
    name = metric if metric in known else next(iter(known), metric)
    own, sign = test.get(name), -1 if directions.get(name) == "lower" else 1
    if own is None:
        return None
    found = {rule: value for rule, scores in baselines.items() if (value := scores.get(name)) is not None}
    better = [f"{rule.replace('_', ' ')} {_number(value)}" for rule, value in found.items() if sign * (value - own) > 0]
    if not better:
        return None
    whose = "baseline" if len(better) == 1 else "baselines"
    less = " (less is better)" if sign < 0 else ""
    return f"below its {whose}: {name.replace('_', ' ')} {_number(own)}, {', '.join(better)}{less}"


def tell_scores(
    console: Console, by_split: Mapping[str, Scores], baselines: Mapping[str, Scores], directions: Mapping[str, str],
    monitor: str, weights: str = "",
) -> None:  # fmt: skip
    """The scores of `val` and `test`, those of the baselines beside them, and a line when one of them is better; of several
    tasks a line each."""
    test = by_split.get("test", {})
    console.print(scores_table(by_split.get("val", {}), test, weights, baselines))
    members = dict.fromkeys(name.partition("/")[2] for scores in baselines.values() for name in scores)
    for member in members:
        own = {
            rule: {name: value for name, value in scores.items() if name.partition("/")[2] == member}
            for rule, scores in baselines.items()
        }
        if said := below_baselines(test, own, directions, monitor.partition("/")[2]):
            console.print(Text(said, style="yellow"), soft_wrap=True)


def tell_signatures(console: Console, signatures: Mapping[str, Mapping[str, str]]) -> None:
    """How scores were computed, a line for all that say the same of the same splits."""
    parts: dict[tuple[str, str], list[str]] = {}
    for part, found in signatures.items():
        for name, signature in found.items():
            parts.setdefault((name, signature), []).append(part)
    names: dict[tuple[str, str], list[str]] = {}
    for (name, signature), of in parts.items():
        names.setdefault((signature, ", ".join(of)), []).append(name)
    for (signature, of), same in names.items():
        console.print(Text(f"{', '.join(same)} ({of}): {signature}", style="dim"), soft_wrap=True)


def summary(console: Console, run: RunFolder, results: Results, monitor: str, hint: str | None) -> None:
    """The end of a run: scores, speed, folder, and what to try next: `hint` (see `Task.first_try`) and eval. `monitor` is the score
    that picked the weights."""
    console.print()
    baselines, directions = results.get("baselines", {}), results.get("directions", {})
    by_split = {"val": results["val"], "test": results["test"]}
    tell_scores(console, by_split, baselines, directions, monitor, "best checkpoint")
    tell_signatures(console, results.get("signatures", {}))
    rate, memory = (value_of(results, f"perf/{name}") or 0 for name in ("tokens_per_sec", "peak_memory_bytes"))
    record = results["run"]
    console.print(
        f"\n{rate:,.0f} tokens/s, {record['tokens_seen']:,} tokens in {record['wall_seconds'] / 60:.1f} minutes, "
        f"at most {size_text(memory)} of memory"
    )
    console.print(Text("run folder: ").append(shown(run.path), style="bold"), soft_wrap=True)
    if run.trace.is_file():
        console.print(Text(f"trace: {shown(run.trace)}, for ui.perfetto.dev or chrome://tracing"), soft_wrap=True)
    word = assignment("run", run.path)
    first = [f"  manyheads {hint.replace('{run}', word)}"] if hint else []
    for line in ("\nNext:", *first, f"  {command('eval')} {word}"):
        console.print(line, soft_wrap=True, markup=False)


def _split(name: str, counts: SplitSize) -> str:
    return f"{name} {counts['rows']:,} rows, {size_text(counts['bytes'])}, {counts['tokens']:,} tokens"


def _warmup_note(cfg: DictConfig) -> list[str]:
    """That the run ends before its warm-up does, if so."""
    warmup, steps = OmegaConf.select(cfg, "optim.warmup_steps"), cfg.trainer.get("max_steps")
    if not warmup or not steps or warmup < steps:
        return []
    return [
        f"the learning rate does not come to its peak: optim.warmup_steps={warmup} of {steps:,} steps. Set it lower, or "
        "optim.warmup_steps=null optim.warmup_fraction=0.05."
    ]


def _budget(cfg: DictConfig) -> str:
    limits = [
        f"{cfg.trainer[key]:,} {key[4:]}" for key in cfg.trainer if str(key).startswith("max_") and cfg.trainer[key]
    ]
    accumulation = cfg.trainer.accumulate_grad_batches
    return ", ".join(limits) + (f", {accumulation} micro-batches a step" if accumulation > 1 else "")
