"""How many tokens the model hesitates between, on average."""

from __future__ import annotations

from torch import Tensor

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.base import Metric


class Perplexity(Metric):
    """exp(sum of the losses / count of the labels): of the whole split, so it does not move with the batch size.

    Source: Jelinek, Mercer, Bahl, Baker, "Perplexity - a measure of the difficulty of speech recognition tasks", 1977.
    """

    name = "perplexity"
    unit = "tokens"
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
        """Perplexity per token, []."""
        return (self.loss_sum / self.count).exp()
