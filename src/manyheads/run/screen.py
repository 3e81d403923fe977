"""What a run says at its start and at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from manyheads.lm import LM
from manyheads.run.folder import RunFolder
from manyheads.run.provenance import device_name
from manyheads.run.results import Results
from manyheads.run.secrets import mask
from manyheads.task.base import Task
from manyheads.tokenizer.base import Tokenizer

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
    resumed_at: int | None = None,
) -> None:
    """What is being trained: task, data, tokenizer, network, optimizer and budget, device, folder."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    table.add_row("task", f"{choices['task']}, rows of {cfg.task.seq_len} tokens, {cfg.task.batch_size} in a batch")
    table.add_row("data", f"{choices['data']}: " + "\n".join(_split(name, s) for name, s in task.describe().items()))
    table.add_row("tokenizer", f"{tokenizer.name}, vocabulary of {tokenizer.vocab_size:,}")
    parameters = sum(p.numel() for p in lm.parameters())
    memory = f"{size(4 * parameters)}, {size(ADAM_BYTES * parameters)} with gradients and optimizer"
    table.add_row("network", f"{choices['model']}: {parameters:,} parameters ({memory})")
    table.add_row("optimizer", f"{choices['optim']}, {_budget(cfg)}")
    table.add_row(
        "device",
        f"{trainer.strategy.root_device.type}: {device_name(trainer.strategy.root_device)}, {trainer.precision}",
    )
    table.add_row("folder", shown(run.path))
    console.print(table)
    for note in task.notes:
        console.print(f"[dim]note: {mask(note)}[/dim]")
    if resumed_at is not None:
        console.print(f"Resuming after step {resumed_at}.")
    console.print()


def scores_table(results_val: dict[str, float], results_test: dict[str, float]) -> Table:
    """The scores of validation and test side by side."""
    table = Table(box=None, padding=(0, 3), header_style="bold")
    table.add_column("")
    for name in results_test or results_val:
        table.add_column(name.replace("_", " "), justify="right")
    for split, scores in (("validation", results_val), ("test", results_test)):
        if scores:
            table.add_row(split, *(f"{value:.4f}" for value in scores.values()))
    return table


def summary(console: Console, run: RunFolder, results: Results) -> None:
    """The end of a run: scores, speed, folder, and what to try next."""
    console.print()
    console.print(scores_table(dict(results["val"]), dict(results["test"])))
    perf, record = results["perf"], results["run"]
    console.print(
        f"\n{perf.get('tokens_per_sec', 0):,.0f} tokens/s, {record['tokens_seen']:,} tokens in "
        f"{record['wall_seconds'] / 60:.1f} minutes, at most {size(perf['peak_memory_bytes'])} of memory"
    )
    folder = shown(run.path)
    console.print(f"run folder: [bold]{folder}[/bold]\n\nNext:", soft_wrap=True)
    console.print(f'  manyheads generate run={folder} "The function returns"', soft_wrap=True)
    console.print(f"  python eval.py run={folder}", soft_wrap=True)


def shown(path: Path) -> str:
    """A path as a person would type it: relative where it is below the current directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def size(count: float) -> str:
    """Bytes in the largest unit below them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _split(name: str, counts: dict[str, Any]) -> str:
    return f"{name} {counts['rows']:,} rows, {size(counts['bytes'])}, {counts['tokens']:,} tokens"


def _budget(cfg: DictConfig) -> str:
    limits = [
        f"{cfg.trainer[key]:,} {key[4:]}" for key in cfg.trainer if str(key).startswith("max_") and cfg.trainer[key]
    ]
    accumulation = cfg.trainer.accumulate_grad_batches
    return ", ".join(limits) + (f", {accumulation} micro-batches a step" if accumulation > 1 else "")
