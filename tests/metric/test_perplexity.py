"""Perplexity by hand, over batches of unequal size."""

import math

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.perplexity import Perplexity


def add(metric: Perplexity, loss_sum: float, count: int, num_bytes: list[int]) -> None:
    batch = Batch(input_ids=torch.zeros(len(num_bytes), 1, dtype=torch.long), num_bytes=torch.tensor(num_bytes))
    metric.update(HeadOutput(torch.tensor(loss_sum), torch.tensor(count)), batch)


def test_is_of_the_whole_split_not_a_mean_over_batches() -> None:
    """Guards against a perplexity that moves with the batch size: 8 labels over 2 and 4 tokens are 2**(10/8)."""
    metric = Perplexity()
    add(metric, 6 * math.log(2), 6, [9])
    add(metric, 2 * math.log(4), 2, [2])
    assert metric.compute().item() == pytest.approx(2 ** (10 / 8), rel=1e-7)


def test_a_uniform_guess_over_the_vocabulary_has_the_perplexity_of_its_size() -> None:
    """Guards against bits taken for nats."""
    metric = Perplexity()
    add(metric, 7 * math.log(257), 7, [7])
    assert metric.compute().item() == pytest.approx(257, rel=1e-6)
