"""What scores the outputs of a split: texts against their references, or what a head says of a row against its target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.head.base import Head


class OutputMetric(ABC):
    """A score of all outputs of a split together, computed once, after they were gathered from all ranks.

    What an output and a target are is the metric's to say: texts and lists of reference texts for the scores of texts.
    `name` is what follows `val/` and `test/`; checkpoints, early stopping and sweeps take their direction from
    `higher_is_better`.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]

    @abstractmethod
    def score(self, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
        """The score of the outputs, one target each; nan when there is none."""

    def each(self, outputs: Sequence[Any], targets: Sequence[Any]) -> list[float] | None:
        """The score of each example by itself; None for a score that only a whole split has."""
        return None

    @property
    def signature(self) -> str | None:
        """How it was computed, in the official scorer's own words, where there are some."""
        return None


class OutputReader(Protocol):
    """What a task reads from a network besides losses, and what that is worth; each row of its batches is one example.

    Attributes:
        while_training: whether the validations of a training read outputs too, or only the scoring at its end.
    """

    while_training: bool

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> Sequence[Any] | None:
        """The output of each row, given the hidden states that the network has made of the batch; None: nothing is read."""
        ...

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores of a split by their names, given the outputs by the examples' numbers, of all ranks."""
        ...
