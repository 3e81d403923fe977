import math

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.accuracy import Accuracy
from manyheads.testing import scripted


def test_right_labels_over_all_labels_of_all_batches() -> None:
    """A model that always says 2. Batch one: labels 2 2 1 -, batch two: 0 - - -. 2 of 4, not the mean of 2/3 and 0."""
    network, head = scripted(lambda read: 2, 3)
    metric = Accuracy()
    for labels in ([[2, 2, 1, IGNORE]], [[0, IGNORE, IGNORE, IGNORE]]):
        batch = Batch(input_ids=torch.zeros(1, 4, dtype=torch.long), labels=torch.tensor(labels))
        losses, correct = head.scores(network(batch), batch)
        metric.update(HeadOutput(losses.sum(), (batch["labels"] != IGNORE).sum(), correct.sum()), batch)
    assert metric.compute().item() == 0.5


def test_a_head_that_does_not_tell_gives_no_score() -> None:
    """Not 0, which would pass for a bad model."""
    metric = Accuracy()
    metric.update(HeadOutput(torch.tensor(1.0), torch.tensor(2)), {})
    assert math.isnan(metric.compute().item())


def test_it_is_a_share_of_which_more_is_better() -> None:
    assert (Accuracy.name, Accuracy.higher_is_better) == ("accuracy", True)
    metric = Accuracy()
    metric.update(HeadOutput(torch.tensor(1.0), torch.tensor(3), torch.tensor(1)), {})
    assert metric.compute().item() == pytest.approx(1 / 3, rel=1e-15)
