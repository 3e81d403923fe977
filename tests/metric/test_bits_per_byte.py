"""BitsPerByte by hand, over batches of unequal size."""

import math

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.bits_per_byte import BitsPerByte


def add(metric: BitsPerByte, loss_sum: float, count: int, num_bytes: list[int]) -> None:
    batch = Batch(input_ids=torch.zeros(len(num_bytes), 1, dtype=torch.long), num_bytes=torch.tensor(num_bytes))
    metric.update(HeadOutput(torch.tensor(loss_sum), torch.tensor(count)), batch)


def test_a_uniform_guess_over_256_bytes_is_8_bits() -> None:
    """Guards against nats taken for bits, and against counting labels: the document's end is a label without a byte."""
    metric = BitsPerByte()
    add(metric, 5 * math.log(256), 6, [5])
    assert metric.compute().item() == pytest.approx(8.0, rel=1e-7)


def test_bytes_of_all_rows_and_batches_count() -> None:
    """Guards against a mean over rows or batches: 12 bits over 2 + 1 + 5 bytes."""
    metric = BitsPerByte()
    add(metric, 8 * math.log(2), 3, [2, 1])
    add(metric, 4 * math.log(2), 9, [5])
    assert metric.compute().item() == pytest.approx(12 / 8, rel=1e-7)
