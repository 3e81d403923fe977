"""The list of callbacks of a run, out of the keys under `callbacks`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytorch_lightning as pl
from rich.console import Console

from manyheads.callbacks.averaging import Averaging
from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.early_stopping import StopEarly
from manyheads.callbacks.find_batch_size import FindBatchSize
from manyheads.callbacks.find_lr import FindLr
from manyheads.callbacks.interrupt import Interrupt, resume_command
from manyheads.callbacks.lane_states import LaneStatesKept
from manyheads.callbacks.metrics_log import MetricsLog
from manyheads.callbacks.nonfinite import StopWhenNotFinite
from manyheads.callbacks.norms import LayerNorms
from manyheads.callbacks.progress import Progress
from manyheads.callbacks.rng import RngState
from manyheads.callbacks.samples import Samples
from manyheads.callbacks.spikes import SkipSpikes
from manyheads.callbacks.throughput import Throughput
from manyheads.decoding.sampling import sampling
from manyheads.errors import UserError, check_choice, check_count, check_range, did_you_mean
from manyheads.marks import builder
from manyheads.metric.base import Metric
from manyheads.metric.output import OutputMetric
from manyheads.optim.averaging import Kind, RunningAverage
from manyheads.task.base import Shown, Task

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


@builder
def callbacks(
    *,
    folder: Path,
    metrics: Sequence[type[Metric | OutputMetric]],
    task: Task,
    console: Console,
    seed: int,
    monitor: str | None = None,
    save_best: int = 1,
    save_every_n_steps: int | None = None,
    keep: int | None = 1,
    patience: int | None = None,
    min_delta: float = 0.0,
    samples: int = 1,
    sample_tokens: int = 64,
    sample_prompt: str | None = None,
    sample_temperature: float = 0.8,
    refresh_per_second: float = 4.0,
    averaging: Kind | None = None,
    ema_decay: float = 0.999,
    averaging_start: float | None = None,
    skip_spikes: float | None = None,
    find_lr: bool = False,
    find_batch_size: bool = False,
    norms_every_n_steps: int | None = None,
    system: bool = False,
) -> list[pl.Callback]:
    """The callbacks of a run, in the order in which they run.

    Args:
        folder: the run's; checkpoints go below it. Nothing is written yet.
        monitor: the validation metric that picks the best checkpoint and stops early; its direction is the metric's own.
            None: the task's.
        save_best: how many of the best checkpoints are kept.
        save_every_n_steps: optimizer steps between further checkpoints; None: only at validations.
        keep: how many of those further checkpoints stay, the newest; None: all.
        patience: validations without an improvement of more than `min_delta` before training stops; None: never.
        min_delta: in the unit of the monitored metric.
        samples: texts to write at each validation; of a mixture, for each task that writes.
        sample_tokens: how long each of them may become.
        sample_prompt: what they begin with; None: the beginnings of validation texts.
        sample_temperature: what the logits of samples are divided by; 0: always the likeliest token.
        refresh_per_second: how often the live line is drawn, at most.
        averaging: ema (exponential) or swa (equal shares) validates, samples, saves and exports averaged weights.
        ema_decay: how much of an exponential average stays at each step, once it is under way.
        averaging_start: the share of the budget after which averaging begins; None: 0 for ema, 0.75 for swa.
        skip_spikes: a step whose gradient norm is above so many times the median of the last 100, or is not finite, is
            skipped and counted; None: none is.
        find_lr: tries learning rates in the place of training, and says which one to set; see `debug=find_lr`.
        find_batch_size: tries batch sizes before the first step, and says which one to set; see `debug=find_batch_size`.
        norms_every_n_steps: optimizer steps between rows with the norm of each layer's gradient, before clipping, and
            weights; None: never.
        system: log what processor, memory and GPU do with each row of training. Needs psutil.

    Raises UserError for a monitor that no metric gives, and for numbers out of range.
    """
    monitor = monitor or task.monitor
    metric = check_monitor(monitor, metrics)
    saved = {"save_best": save_best, "save_every_n_steps": save_every_n_steps, "keep": keep}
    for name, count in {
        **saved,
        "patience": patience,
        "sample_tokens": sample_tokens,
        "norms_every_n_steps": norms_every_n_steps,
    }.items():
        if count is not None:
            check_count(f"callbacks.{name}", count)
    check_count("callbacks.samples", samples, 0)
    check_range("callbacks.min_delta", min_delta, 0)
    check_range("callbacks.sample_temperature", sample_temperature, 0)
    check_range("callbacks.refresh_per_second", refresh_per_second, 0.01)
    running = check_averaging(None if find_lr else averaging, ema_decay, None if find_lr else averaging_start)
    spikes = check_spikes(skip_spikes, console)
    up = metric.higher_is_better
    stop = {"patience": patience, "min_delta": min_delta}

    checkpoint = RunCheckpoint(folder=folder / "checkpoints", monitor=monitor, higher_is_better=up, **saved)
    throughput = Throughput()
    log = MetricsLog(throughput, spikes)
    progress = Progress(
        console=console,
        log=log,
        checkpoint=checkpoint,
        metrics=[each.name for each in metrics],
        refresh_per_second=refresh_per_second,
    )
    texts = Samples(
        console=console,
        tokenizer=task.tokenizer,
        prompts=lambda: _prompts(task, samples, sample_prompt),
        max_new_tokens=sample_tokens,
        sampling=sampling(temperature=sample_temperature),
        seed=seed,
    )
    # the order in which they run: watch, log, show, decide, save, and only then leave
    early = [StopEarly(console=console, monitor=monitor, higher_is_better=up, **stop)] if patience else []
    shown = [progress, texts] if samples else [progress]
    finders = [FindLr(console=console, path=folder / "lr_finder.csv", log=log)] if find_lr else []
    finders += [FindBatchSize(console=console)] if find_batch_size else []
    watch = [
        throughput,
        RngState(),
        LaneStatesKept(),
        *([spikes] if spikes else []),
        StopWhenNotFinite(checkpoint, losses=spikes is None and not find_lr),
    ]
    asked = [
        *([LayerNorms(norms_every_n_steps)] if norms_every_n_steps else []),
        *(_system_metrics() if system else []),
    ]
    leave = Interrupt(checkpoint=checkpoint, resume=resume_command(folder))
    return passed_over([*watch, log, *asked, *shown, *finders, Averaging(running), *early, checkpoint, leave])


def passed_over(callbacks: list[pl.Callback]) -> list[pl.Callback]:
    """The callbacks, whose hooks of a step that do nothing are None: Lightning passes over what it cannot call.

    It would call some fifty of them in every step.
    """
    for callback in callbacks:
        for hook in STEP_HOOKS:
            if getattr(type(callback), hook) is getattr(pl.Callback, hook):
                setattr(callback, hook, None)
    return callbacks


def _prompts(task: Task, count: int, text: str | None) -> list[Shown]:
    """What samples are written from: what the task has, or a text of the user's."""
    found = task.prompts(count)
    if text is None or not found:
        return found
    return [
        one._replace(prompt=text, **{"ids" if one.source is None else "source": task.of(one.member).question(text)})
        for one in found
    ]


def check_averaging(kind: Kind | None, decay: float, start: float | None) -> RunningAverage | None:
    """The running average that was asked for. Raises UserError for values out of range, and for a start of none."""
    check_range("callbacks.ema_decay", decay, 0, 1)
    if start is not None:
        check_range("callbacks.averaging_start", start, 0, 1)
    if kind is not None:
        check_choice("callbacks.averaging", kind, get_args(Kind))
        return RunningAverage(kind, decay=decay, start=start)
    if start is not None:
        raise UserError(
            f"callbacks.averaging_start={start} and callbacks.averaging=null: nothing is averaged. "
            f"Set callbacks.averaging={' or '.join(get_args(Kind))}."
        )
    return None


def check_spikes(factor: float | None, console: Console) -> SkipSpikes | None:
    """What skips spikes, if that was asked for. Raises UserError for a factor that would skip ordinary steps."""
    if factor is None:
        return None
    check_range("callbacks.skip_spikes", factor, 1, hint="It is how many times the median a gradient norm may be.")
    return SkipSpikes(console=console, factor=factor)


def _system_metrics() -> list[pl.Callback]:
    if importlib.util.find_spec("psutil") is None:
        raise UserError("callbacks.system=true needs the package psutil, which is not installed: pip install psutil")
    from manyheads.callbacks.system import SystemMetrics

    return [SystemMetrics()]


def check_monitor(monitor: str, metrics: Sequence[type[Metric | OutputMetric]]) -> type[Metric | OutputMetric]:
    """The metric that `monitor` names. Raises UserError when none of `metrics` is called so."""
    names = {f"val/{metric.name}": metric for metric in metrics}
    if monitor not in names:
        raise UserError(
            f"callbacks.monitor={monitor} is not measured; set one of {', '.join(names)}.{did_you_mean(monitor, names)}"
        )
    return names[monitor]
