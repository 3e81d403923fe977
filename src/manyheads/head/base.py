"""What a head is: it turns hidden states into a sum of losses and the count they are over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from manyheads.batch import Batch


class HeadOutput(NamedTuple):
    """A sum and a count, never a mean: whoever has all micro-batches and ranks divides once."""

    loss_sum: Tensor  # [] float32 (float64 for a float64 network), nats
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # [] int64, how many labels were scored
    correct: Tensor | None = None  # [] int64, how many of them have the highest score of all; None in training


class Head(nn.Module, ABC):
    """The part of a model that knows the objective.

    `kinds` names the kinds of networks (`network.kind`) whose hidden states it can read.
    """

    kinds: ClassVar[frozenset[str]]

    @abstractmethod
    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        """The sum of the losses of all labels that are not IGNORE, and their count; `hidden` is [B, T, D]."""

    @abstractmethod
    def losses(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The loss of each position in nats, [B, T] float32, 0 where the label is IGNORE; `hidden` is [B, T, D]."""
