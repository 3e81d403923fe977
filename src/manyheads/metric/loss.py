"""The mean loss of a label."""

from __future__ import annotations

from torch import Tensor

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.base import Metric


class Loss(Metric):
    """Sum of the losses / count of the labels, in nats per token. Depends on the tokenizer."""

    name = "loss"
    unit = "nats per token"
    higher_is_better = False
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

    def compute(self) -> Tensor:
        """Nats per token, []."""
        return self.loss_sum / self.count
