"""Guards: a score of one member that counts another's batches, and a mean of losses by the wrong weights."""

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.classification import ExampleAccuracy
from manyheads.metric.loss import Loss
from manyheads.metric.members import metrics_of, mixed_loss, name_of, of_member

BATCHES = [("a", 6.0, 3, 1), ("b", 10.0, 2, 2), ("a", 4.0, 2, 0), ("c", 100.0, 1, 0)]
"""Member, sum of losses, labels, correct ones. By hand: a 10 / 5 = 2, b 10 / 2 = 5, c 100."""


def value(metric: type) -> float:
    made = metric()
    for member, loss, count, correct in BATCHES:
        made.update(HeadOutput(torch.tensor(loss), torch.tensor(count), torch.tensor(correct)), Batch(member=member))  # type: ignore[typeddict-item]
    return float(made.compute())


def test_a_member_is_scored_over_its_own_batches() -> None:
    assert [value(of_member(Loss, name)) for name in "abc"] == [2.0, 5.0, 100.0]
    assert value(of_member(Accuracy, "a")) == pytest.approx(1 / 5)
    assert of_member(Loss, "a").name == "loss/a"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [({"a": 1.0, "b": 1.0, "c": 1.0}, 107 / 3), ({"a": 1.0, "b": 3.0, "c": 0.0}, (2 + 15) / 4)],
)
def test_the_loss_of_all_is_the_weighted_mean_of_theirs(weights: dict[str, float], expected: float) -> None:
    assert value(mixed_loss(weights)) == pytest.approx(expected)


def test_a_member_of_no_weight_that_was_not_scored_leaves_the_mean_a_number() -> None:
    made = mixed_loss({"a": 1.0, "b": 0.0})()
    made.update(HeadOutput(torch.tensor(6.0), torch.tensor(3), torch.tensor(1)), Batch(member="a"))  # type: ignore[typeddict-item]
    assert float(made.compute()) == 2.0


def test_names_have_the_member_behind_the_metric() -> None:
    assert name_of("accuracy", "topics") == "accuracy/topics"
    assert name_of("bits_per_byte/docs", "text") == "bits_per_byte/text/docs"


def test_directions_are_those_of_the_metrics() -> None:
    class One:
        metrics = (Loss,)
        output_metrics = (ExampleAccuracy,)

    losses, outputs = metrics_of({"a": One, "b": One})
    assert [metric.name for metric in losses] == ["loss", "loss/a", "loss/b"]
    assert {metric.name: metric.higher_is_better for metric in outputs} == {"accuracy/a": True, "accuracy/b": True}
