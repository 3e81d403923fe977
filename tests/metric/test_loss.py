"""Loss by hand, over batches of unequal size."""

import math

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.loss import Loss


def add(metric: Loss, loss_sum: float, count: int, num_bytes: list[int]) -> None:
    batch = Batch(input_ids=torch.zeros(len(num_bytes), 1, dtype=torch.long), num_bytes=torch.tensor(num_bytes))
    metric.update(HeadOutput(torch.tensor(loss_sum), torch.tensor(count)), batch)


def test_is_the_mean_over_all_labels_not_over_batches() -> None:
    """Guards against a mean of means: 3 labels of 2 nats and 1 of 6 are 3 nats, not 4."""
    metric = Loss()
    add(metric, 6.0, 3, [9])
    add(metric, 6.0, 1, [2])
    assert metric.compute().item() == 3.0
    metric.reset()
    add(metric, 1.0, 2, [1])
    assert metric.compute().item() == 0.5


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_scored_is_no_number() -> None:
    """Guards against an empty split that looks perfect."""
    assert math.isnan(Loss().compute().item())
