"""What every metric is: sums over all labels of a split, divided once at the end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torchmetrics
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput

WITHOUT_FLOAT64 = {"mps"}
"""Kinds of device that cannot hold a float64 tensor."""


class Metric(torchmetrics.Metric):
    """Scores a split from what a head returns for its batches. States are float64 sums, added over ranks.

    `name` is what follows `val/` and `test/`; checkpoints, early stopping and sweeps take their direction from
    `higher_is_better`.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]  # type: ignore[assignment]
    full_state_update = False

    def add_sum(self, state: str) -> None:
        """Declares the attribute `state`, [] float64: a sum that starts at 0 and is added over ranks."""
        self.add_state(state, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def update(self, output: HeadOutput, batch: Batch) -> None:
        """Adds one batch."""

    @abstractmethod
    def compute(self) -> Tensor:
        """The score over everything that was added, []; nan when nothing was."""

    def _apply(self, fn: Callable[..., Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        """Moves the states, which stay float64 in a network of half precision; float32 where a device has no float64."""
        device = fn(torch.zeros(())).device
        wide = torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
        if wide is torch.float32:
            self._cast(wide)
        super()._apply(fn, exclude_state)
        self._cast(wide)
        return self

    def _cast(self, dtype: torch.dtype) -> None:
        for state, default in self._defaults.items():
            assert isinstance(default, Tensor)
            setattr(self, state, getattr(self, state).to(dtype))
            self._defaults[state] = default.to(dtype)


class PerToken(Metric):
    """A metric that is made of the mean loss of a label."""

    loss_sum: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("loss_sum")
        self.add_sum("count")

    def update(self, output: HeadOutput, batch: Batch) -> None:
        """Adds one batch's sum of losses, in nats, and its count of labels."""
        self.loss_sum += output.loss_sum
        self.count += output.count

    def mean(self) -> Tensor:
        """Nats per token over everything that was added, []."""
        return self.loss_sum / self.count
