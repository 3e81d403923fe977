"""What a trained model says of the rows of a test split, a part of them at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.data.examples import ExampleRows
from manyheads.decoding.reader import eval_mode
from manyheads.decoding.scoring import score_each
from manyheads.head.base import Head
from manyheads.task.base import Prediction, Scored

if TYPE_CHECKING:
    from manyheads.task.example import ExampleTask
    from manyheads.task.generation import Generation

EXAMPLES = 1024
"""How many are answered before their lines are given: among so many, batches are of about one length."""


def answers(task: ExampleTask, network: nn.Module, head: Head) -> Iterator[Prediction]:
    """One line for each example of the test split, in order."""
    rows = task.store("test").rows
    start = 0
    with eval_mode(network, head):
        while start < len(rows):
            end = min(start + EXAMPLES, len(rows))
            while end < len(rows) and rows[end] == rows[end - 1]:  # the examples of a row stay together
                end += 1
            yield from task.predictions(_scored(task, network, head, np.arange(start, end)))
            start = end


def lines(task: ExampleTask, scored: Scored) -> Iterator[Prediction]:
    """One line for each row of the test split whose outputs were read, in order; without target and score where the rows say
    none."""
    found = task.joined("test", scored.outputs)
    chosen, targets = task.held_to("test", found)
    outputs = [found[row] for row in chosen]
    each = {metric.name: metric.each(outputs, targets) for metric in task.scorers()} if targets else {}
    kept = {name: values for name, values in each.items() if values is not None}
    inputs = task.inputs(task.source.rows("test")[chosen]) if chosen else []
    losses: dict[int, float] = {}
    for example in sorted(scored.loss):
        row = int(task.store("test").rows[example])
        losses[row] = losses.get(row, 0.0) + scored.loss[example]
    for place, row in enumerate(chosen):
        line = Prediction(id=row, input=inputs[place])
        if targets:
            line["target"] = task.shown(targets[place])
        line["output"] = task.shown(outputs[place])
        line.update(task.details(outputs[place]))
        if targets:
            # nan: the example has no such score, as a text of one word has no pair of words
            line["score"] = {name: values[place] for name, values in kept.items() if not math.isnan(values[place])}
        if row in losses:
            line["loss"] = losses[row]
        yield line


def text_losses(task: Generation, network: nn.Module, head: Head) -> Iterator[Prediction]:
    """How well a network predicts each text of the test split, in order; an empty one has no label."""
    number = 0
    for texts in task.source.texts("test"):
        ids = task.tokenizer.encode_batch(texts)
        losses = score_each(
            network, head, ids, end_id=task.tokenizer.end_id, seq_len=None if task.carry else task.seq_len,
            stride=task.stride, batch_size=task.eval_batch_size,
        )  # fmt: skip
        for text, tokens, loss in zip(texts, ids, losses.tolist(), strict=True):
            line, size = Prediction(id=number, input=text), len(text.encode())
            if size:
                line.update(loss=loss, tokens=len(tokens) + 1, bytes=size, bits_per_byte=loss / math.log(2) / size)
            yield line
            number += 1


@torch.inference_mode()
def _scored(task: ExampleTask, network: nn.Module, head: Head, members: NDArray[np.int64]) -> Scored:
    """What the network says of some examples."""
    lengths = task.lengths("test")[members]
    longest_first = members[np.argsort(-lengths, kind="stable")]
    data = ExampleRows(task.store("test"), task.collate(True), members=longest_first, scoring=True)
    device = device_of(network)
    scored = Scored({}, {}, {})
    for first in range(0, len(data), task.eval_batch_size):
        batch = moved(data.__getitems__(range(first, min(first + task.eval_batch_size, len(data)))), device)
        hidden = network(batch)
        numbers = batch["examples"].tolist()
        if task.outputs is not None:
            scored.outputs.update(zip(numbers, task.outputs.read(network, head, batch, hidden), strict=True))  # type: ignore[attr-defined]
        _add_losses(scored, head, hidden, batch, numbers)
    return scored


def _add_losses(scored: Scored, head: Head, hidden: Tensor, batch: Batch, numbers: list[int]) -> None:
    """Each example's sum of losses, of those that have a label."""
    learned = head.learned(batch)
    if not learned.any():
        return
    losses = head.losses(hidden, batch).double()
    counts = learned.reshape(len(numbers), -1).sum(-1).tolist()
    sums = losses.where(learned, 0.0).reshape(len(numbers), -1).sum(-1).tolist()
    known = [(number, total, count) for number, total, count in zip(numbers, sums, counts, strict=True) if count]
    scored.loss.update((number, total) for number, total, _ in known)  # type: ignore[attr-defined]
    scored.labels.update((number, count) for number, _, count in known)  # type: ignore[attr-defined]


def device_of(network: nn.Module) -> torch.device:
    """Where a network is; the CPU for one without parameters."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device."""
    found: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()
    }
    return Batch(**found)  # type: ignore[typeddict-item]
