"""Scores of the members of a mixture: each member's own under its name, and their losses as one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.base import Metric
from manyheads.metric.loss import Loss
from manyheads.metric.output import OutputMetric


def name_of(metric: str, member: str) -> str:
    """`accuracy/topics`; of a part of a member's data, `bits_per_byte/topics/part` of `bits_per_byte/part`."""
    first, slash, part = metric.partition("/")
    return f"{first}/{member}{slash}{part}"


@functools.cache
def of_member(metric: type[Metric], member: str) -> type[Metric]:
    """The metric over the batches of one member alone, named `<metric>/<member>`."""

    def update(self: Metric, output: HeadOutput, batch: Batch) -> None:
        if batch.get("member") == member:
            metric.update(self, output, batch)

    return type(metric.__name__, (metric,), {"name": name_of(metric.name, member), "update": update})


@functools.cache
def output_of_member(metric: type[OutputMetric], member: str) -> type[OutputMetric]:
    """The metric by its name among those of a mixture; the member itself computes it."""
    return type(metric.__name__, (metric,), {"name": name_of(metric.name, member)})


class MixedLoss(Metric):
    """The mean of the members' losses, each in nats per label of its own, weighted by `weights`: of even ones, the plain
    mean. A member of weight 0 counts nothing."""

    name = "loss"
    unit = Loss.unit
    higher_is_better = False
    weights: ClassVar[Mapping[str, float]] = {}

    def __init__(self) -> None:
        super().__init__()
        for place in range(len(self.weights)):
            self.add_sum(f"loss_{place}")
            self.add_sum(f"count_{place}")

    def update(self, output: HeadOutput, batch: Batch) -> None:
        """Adds one batch's sum of losses, in nats, and its count of labels, to those of its member."""
        place = list(self.weights).index(batch["member"])
        for name, value in ((f"loss_{place}", output.loss_sum), (f"count_{place}", output.count)):
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> Tensor:
        """Nats per label, []."""
        drawn = [(place, weight) for place, weight in enumerate(self.weights.values()) if weight]
        means = torch.stack([getattr(self, f"loss_{place}") / getattr(self, f"count_{place}") for place, _ in drawn])
        shares = means.new_tensor([weight for _, weight in drawn])
        return (means * shares).sum() / shares.sum()


def mixed_loss(weights: Mapping[str, float]) -> type[MixedLoss]:
    """The mixed loss of members with these weights."""
    return type(MixedLoss.__name__, (MixedLoss,), {"weights": dict(weights)})


def metrics_of(
    members: Mapping[str, Any], weights: Mapping[str, float] | None = None
) -> tuple[tuple[type[Metric], ...], tuple[type[OutputMetric], ...]]:
    """The metrics of losses and of outputs of a mixture of these tasks, or classes of tasks; None: even weights."""
    losses: Sequence[type[Metric]] = [of_member(one, name) for name, task in members.items() for one in task.metrics]
    outputs = [output_of_member(one, name) for name, task in members.items() for one in task.output_metrics]
    return (mixed_loss(weights or dict.fromkeys(members, 1.0)), *losses), tuple(outputs)
