"""What the benchmarks of training share: the same network, data and order in a bare loop and in a run."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

import manyheads
from manyheads.allocator import keep_freed_memory
from manyheads.build import CONF_DIR, build
from manyheads.data.batches import PackedRows, as_is
from manyheads.data.packing import cut, pack
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.store import tokenize
from manyheads.rebuild import rebuild
from manyheads.run.compose import compose

SHORT = [
    *("model=nano", "model.dim=32", "model.num_layers=1", "model.num_heads=2"),
    *("tokenizer=byte", "optim=adamw", "task.batch_size=2", "task.seq_len=16"),
]
"""The short step, meant to take about 2 ms on one thread; what it took is a row of `throughput`."""
WHOLE = [
    "trainer.val_every_n_steps=1000000",  # what a validation takes is no step's time
    "callbacks.samples=0",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "logger.wandb.mode=offline",
]


class Parts(NamedTuple):
    """What a run would train, and with what."""

    network: nn.Module
    head: Any
    rows: PackedRows
    order: ResumableBatchSampler
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR


def parts(settings: list[str], steps: int) -> Parts:
    """The parts of `python train.py SETTINGS trainer.max_steps=STEPS`, with a run's own first weights and order."""
    cfg = compose("train", [*settings, f"trainer.max_steps={steps}"], CONF_DIR).config
    torch.manual_seed(cfg.seed)
    source = build(cfg.data, "data")
    tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
    store = tokenize(source, "train", tokenizer)
    segments = cut(store.document_starts, cfg.task.seq_len)
    rows = PackedRows(store, segments, pack(segments.length, cfg.task.seq_len), end_id=tokenizer.end_id, scoring=False)
    order = ResumableBatchSampler(len(rows), cfg.task.batch_size, seed=cfg.seed, shuffle=True)
    network, head = rebuild(cfg, tokenizer)
    optimizer, schedule = build(cfg.optim, "optim", module=nn.ModuleDict({"network": network, "head": head}))
    scheduler = LambdaLR(optimizer, lambda step: schedule.factor(step, step / steps, steps))
    return Parts(network, head, rows, order, optimizer, scheduler)


def bare(settings: list[str], steps: int) -> float:
    """Seconds per step of a loop written by hand: forward, mean loss, backward, clip, step, schedule. It has a run's
    settings of the allocator, since what is asked is what the stack costs."""
    keep_freed_memory()
    network, head, rows, order, optimizer, scheduler = parts(settings, steps)
    weights = list(nn.ModuleDict({"network": network, "head": head}).parameters())

    def batches(epoch: int) -> DataLoader:
        order.set_epoch(epoch)
        return DataLoader(rows, batch_sampler=order, collate_fn=as_is)

    def loss(batch: Any) -> torch.Tensor:
        output = head(network(batch), batch)
        return output.loss_sum / output.count

    return loop(loss, batches, weights, optimizer, scheduler, steps)


def loop(
    loss: Callable[[Any], torch.Tensor],
    batches: Callable[[int], Iterable[Any]],
    weights: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    steps: int,
) -> float:
    """Seconds per step of a loop written by hand, over the batches of epoch 0, 1, ..."""
    done, epoch, started = 0, 0, time.perf_counter()
    while True:
        for batch in batches(epoch):
            loss(batch).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            done += 1
            if done == steps:
                return (time.perf_counter() - started) / steps
        epoch += 1


def long_step(seconds: float = 0.1, steps: int = 12) -> list[str]:
    """Settings of which a step takes about so long here, in a bare loop: the number of rows, found by trying four."""
    took = bare(["task.batch_size=4"], steps)
    return [f"task.batch_size={max(1, round(4 * seconds / took))}"]


def whole(settings: list[str], steps: int) -> float:
    """Seconds per step of `manyheads.train`: Lightning, callbacks, CSV, W&B offline, the live line; without validation."""
    results = manyheads.train(overrides=[*settings, *WHOLE, f"trainer.max_steps={steps}"])
    seconds = results["run"]["train_seconds"]
    assert results["run"]["steps"] == steps
    return seconds / steps


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """A folder of its own, and a terminal to draw on, read by another process."""
    before, here = sys.stdout, os.getcwd()
    master, slave = pty.openpty()
    reader = subprocess.Popen(["cat"], stdin=master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder, os.fdopen(slave, "w") as screen:
        os.chdir(folder)
        sys.stdout = screen
        try:
            yield
        finally:
            sys.stdout = before
            os.chdir(here)
    os.close(master)
    reader.wait()


def on_terminal(measure: Callable[..., float], *args: Any, **kwargs: Any) -> float:
    """What `measure` finds in such a folder, before such a terminal."""
    with terminal():
        return measure(*args, **kwargs)
