from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from manyheads.batch import IGNORE, Batch
from manyheads.callbacks.find_batch_size import FindBatchSize, repeated, sizes
from manyheads.head.base import HeadOutput, Objective


def test_sizes_divide_what_a_step_is_over() -> None:
    # guards: a size whose accumulation does not come to the same rows
    assert sizes(96) == [3, 6, 12, 24, 48, 96]
    assert sizes(1) == [1]
    assert sizes(7) == [7]


def rows(count: int) -> Batch:
    ids = torch.arange(3 * count).view(count, 3)
    return {"input_ids": ids, "labels": ids.clone(), "num_bytes": torch.arange(count)}


def test_rows_are_taken_in_turn() -> None:
    # guards: a larger batch of the first row alone, and a tensor that stays as long as it was
    got = repeated(rows(2), 5)
    assert got["input_ids"][:, 0].tolist() == [0, 3, 0, 3, 0]
    assert got["num_bytes"].tolist() == [0, 1, 0, 1, 0]
    assert repeated(rows(4), 2)["labels"].tolist() == [[0, 1, 2], [3, 4, 5]]


class Machine(nn.Module):
    """A network that takes `cost(rows)` seconds a pass on a clock of its own, and has room for `most` rows."""

    def __init__(self, cost: Callable[[int], float], most: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.cost, self.most, self.now, self.seen = cost, most, 0.0, []

    def objective(self, batch: Batch) -> Objective:
        count = len(batch["input_ids"])
        self.seen.append(count)
        if count > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.now += self.cost(count)
        return Objective(self.weight * 1.0, HeadOutput(self.weight, (batch["labels"] != IGNORE).sum()), {})


def found(machine: Machine, batch_size: int, accumulation: int) -> list[str]:
    trainer = SimpleNamespace(
        accumulate_grad_batches=accumulation,
        is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda value: value),
        precision_plugin=SimpleNamespace(train_step_context=nullcontext),
    )
    console = Console(file=io.StringIO(), width=200)
    finder = FindBatchSize(console=console, clock=lambda: machine.now)
    for step in range(2):
        finder.on_train_batch_start(trainer, machine, rows(batch_size), step)  # type: ignore[arg-type]
    assert machine.weight.grad is None
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_doubling_ends_where_a_token_takes_no_less_time() -> None:
    # guards: the largest that fits in the place of the fastest; from 8 rows on, a row costs one second
    machine = Machine(lambda count: max(8.0, count), most=100)
    assert found(machine, 4, 16) == [
        *(f"{count} rows: {3 * count / max(8, count):,.0f} tokens/s" for count in (1, 2, 4, 8, 16)),
        "find_batch_size: fastest is task.batch_size=8 trainer.accumulate_grad_batches=8",
    ]
    assert sorted(set(machine.seen)) == [1, 2, 4, 8, 16]


def test_doubling_ends_with_the_memory() -> None:
    # guards: a trial that ends the run; and a fault of ours that passes for a lack of memory
    assert found(Machine(lambda count: 1.0, most=12), 24, 1) == [
        *(f"{count} rows: {3 * count} tokens/s" for count in (3, 6, 12)),
        "24 rows: more memory than there is",
        "find_batch_size: fastest is task.batch_size=12 trainer.accumulate_grad_batches=2",
    ]
    assert found(Machine(lambda count: 1.0, most=0), 1, 1)[-1].startswith("find_batch_size: no batch fits.")

    def wrong(count: int) -> float:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        found(Machine(wrong, most=9), 1, 1)
