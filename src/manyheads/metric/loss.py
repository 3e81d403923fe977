"""The mean loss of a label."""

from __future__ import annotations

from torch import Tensor

from manyheads.metric.base import PerToken


class Loss(PerToken):
    """Sum of the losses / count of the labels, in nats per token. Depends on the tokenizer."""

    name = "loss"
    unit = "nats per token"
    higher_is_better = False

    def compute(self) -> Tensor:
        """Nats per token, []."""
        return self.mean()
