"""How often the token that comes next is the one that the model finds likeliest."""

from __future__ import annotations

import torch
from torch import Tensor

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.base import Metric


class Accuracy(Metric):
    """Labels that have the highest score of the vocabulary / all labels. Depends on the tokenizer."""

    name = "accuracy"
    unit = "share of tokens"
    higher_is_better = True
    correct: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("correct")
        self.add_sum("count")

    def update(self, output: HeadOutput, batch: Batch) -> None:
        """Adds one batch's counts. A head that does not tell how many were right makes the score nan."""
        self.correct += torch.nan if output.correct is None else output.correct
        self.count += output.count

    def compute(self) -> Tensor:
        """From 0 to 1, []."""
        return self.correct / self.count
