"""The yardstick that runs with different tokenizers share."""

from __future__ import annotations

import math

from torch import Tensor

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.base import Metric


class BitsPerByte(Metric):
    """Sum of the losses in bits / bytes of the raw text in UTF-8 that the labels stand for.

    Source: Gao et al., "The Pile: An 800GB Dataset of Diverse Text for Language Modeling", 2020, section 3.1:
    BPB = (L_T / L_B) * loss / ln 2, where L_T and L_B are the text's lengths in tokens and in bytes.
    """

    name = "bits_per_byte"
    unit = "bits per byte"
    higher_is_better = False
    loss_sum: Tensor
    num_bytes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("loss_sum")
        self.add_sum("num_bytes")

    def update(self, output: HeadOutput, batch: Batch) -> None:
        """Adds one batch's sum of losses, in nats, and the bytes of its rows, `num_bytes` [B]."""
        self.loss_sum += output.loss_sum
        self.num_bytes += batch["num_bytes"].sum()

    def compute(self) -> Tensor:
        """Bits per byte, []."""
        return self.loss_sum / math.log(2) / self.num_bytes
