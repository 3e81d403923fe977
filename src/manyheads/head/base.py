"""What a head is: it turns hidden states into a sum of losses and the count they are over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch


class HeadOutput(NamedTuple):
    """A sum and a count, never a mean: whoever has all micro-batches and ranks divides once."""

    loss_sum: Tensor  # [] float32 (float64 for a float64 network), nats
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # [] int64, how many labels were scored
    correct: Tensor | None = None  # [] int64, how many of them have the highest score of all; None in training


class Scores(NamedTuple):
    """Each label by itself: what evaluation adds up. [B, T], or [B] of a head that has a label for each row."""

    losses: Tensor  # float32 (float64 for a float64 network), nats; 0 where the label is IGNORE
    correct: Tensor  # bool, whether the label has the highest score of all, the first one of equals


class Auxiliary(NamedTuple):
    """Losses that only training has: from a network's `auxiliary_losses(batch)`, or within a head's `objective`.

    Attributes:
        total: [], times their coefficients: a sum that the count of the batch's labels divides, as it does loss_sum.
        terms: logged as train/<name>: each a sum without its coefficient, and a count of its own.
    """

    total: Tensor
    terms: Mapping[str, HeadOutput]


class Objective(NamedTuple):
    """What a training step minimises, and what it logs."""

    total: Tensor  # [] a sum; gradients are those of total / output.count, over all micro-batches and ranks
    output: HeadOutput  # the loss that validation has too, logged as train/loss
    terms: Mapping[str, HeadOutput]  # as in Auxiliary


class Head(nn.Module, ABC):
    """The part of a model that knows the objective.

    `kinds` names the kinds of networks (`network.kind`) whose hidden states it can read, `refuses` says of others why not,
    `reads` names the entry of a Batch that says what is right, `partial` says that a batch uses only some of its parameters.
    """

    kinds: ClassVar[frozenset[str]]
    refuses: ClassVar[Mapping[str, str]] = {}
    reads: ClassVar[str] = "labels"
    partial: ClassVar[bool] = False
    part: ClassVar[str] = "head"

    def of(self, member: str | None) -> Head:
        """The head of a member of a mixture; a head of a single task is its own."""
        return self

    @abstractmethod
    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        """The sum of the losses of all labels that are not IGNORE, and their count; `hidden` is [B, T, D]."""

    def objective(self, hidden: Tensor, batch: Batch) -> Objective:
        """What training minimises; here the loss itself. A head that adds to it overrides this method, never `forward`."""
        output = self(hidden, batch)
        return Objective(output.loss_sum, output, {})

    def blank(self, batch_size: int, seq_len: int) -> Tensor:
        """What `reads` names, of zeros, for rows of that shape: what memory is counted with."""
        return torch.zeros(batch_size, seq_len, dtype=torch.int64)

    @abstractmethod
    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        """What evaluation knows of each label; `hidden` is [B, T, D]."""

    def learned(self, batch: Batch) -> Tensor:
        """Where there is a label, bool, in the shape of `scores`."""
        return batch["labels"] != IGNORE

    def losses(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The loss of each label in nats, float32, 0 where it is IGNORE; `hidden` is [B, T, D]."""
        return self.scores(hidden, batch).losses
