"""What scores the outputs of a split: texts against their references, or what a head says of a row against its target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar


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
