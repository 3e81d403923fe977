"""Guards: padding that is pooled, a loss that is not torch's, several labels scored as one, weights in the wrong place."""

import math

import pytest
import torch
import torch.nn.functional as F

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.head.label import POOLS, Label

HIDDEN = torch.tensor([[[1.0, 5.0], [3.0, 1.0], [9.0, 9.0]], [[2.0, 0.0], [4.0, 2.0], [0.0, 7.0]]])
SEGMENTS = torch.tensor([[1, 1, 0], [1, 1, 1]])


def head(**settings) -> Label:
    torch.manual_seed(0)
    return Label(dim=2, labels=["a", "b", "c"], init_std=1.0, **settings)


def batch(classes: torch.Tensor, segments: torch.Tensor | None = SEGMENTS) -> Batch:
    found = Batch(input_ids=torch.zeros(2, 3), classes=classes)
    return found if segments is None else {**found, "segments": segments}


@pytest.mark.parametrize(
    ("pool", "expected"),
    [("mean", [[2, 3], [2, 3]]), ("first", [[1, 5], [2, 0]]), ("last", [[3, 1], [0, 7]]), ("max", [[3, 5], [4, 7]])],
)
def test_pools_take_a_rows_own_positions_alone(pool: str, expected: list[list[float]]) -> None:
    assert POOLS[pool](HIDDEN, SEGMENTS).tolist() == expected
    assert torch.equal(POOLS[pool](HIDDEN, None), POOLS[pool](HIDDEN, torch.ones(2, 3)))


def test_the_loss_is_torchs_cross_entropy_over_the_rows_that_have_a_class() -> None:
    one = head()
    logits = one.output(torch.tensor([[2.0, 3.0], [2.0, 3.0]]))
    both = one(HIDDEN, batch(torch.tensor([2, 0])))
    assert both.loss_sum.item() == pytest.approx(F.cross_entropy(logits, torch.tensor([2, 0]), reduction="sum").item())
    assert both.count.item() == 2
    half = one(HIDDEN, batch(torch.tensor([IGNORE, 0])))
    assert half.loss_sum.item() == pytest.approx(F.cross_entropy(logits[1:], torch.tensor([0])).item())
    assert half.count.item() == 1


def test_scores_are_of_each_row_and_add_up_to_the_loss() -> None:
    one, given = head(), batch(torch.tensor([2, IGNORE]))
    losses, correct = one.scores(HIDDEN, given)
    assert losses.shape == correct.shape == (2,)
    assert losses.sum().item() == pytest.approx(one(HIDDEN, given).loss_sum.item())
    assert not correct[1]
    assert one.learned(given).tolist() == [True, False]
    best = int(one.class_logits(HIDDEN, given)[0].argmax())
    assert one.scores(HIDDEN, batch(torch.tensor([best, 0])))[1][0]


def test_probabilities_of_one_class_add_up_to_one() -> None:
    found = head().probabilities(HIDDEN, batch(torch.tensor([0, 0])))
    assert torch.allclose(found.sum(-1), torch.ones(2))


def test_several_labels_are_questions_of_their_own() -> None:
    one = head(several=True)
    classes = torch.tensor([[1.0, 0.0, 1.0], [float(IGNORE)] * 3])
    logits = one.class_logits(HIDDEN, batch(classes))
    expected = F.binary_cross_entropy_with_logits(logits[0], classes[0])
    assert one(HIDDEN, batch(classes)).loss_sum.item() == pytest.approx(expected.item())
    assert one(HIDDEN, batch(classes)).count.item() == 1
    right = (logits[:1] > 0).float()
    assert one.scores(HIDDEN, batch(torch.cat([right, classes[1:]])))[1].tolist() == [True, False]
    assert torch.equal(one.probabilities(HIDDEN, batch(classes)), logits.sigmoid())


def test_class_weights_and_smoothing_change_what_is_learned_and_not_the_loss() -> None:
    plain, given = head(), batch(torch.tensor([2, 0]))
    logits = plain.class_logits(HIDDEN, given)
    for settings, expected in (
        ({"class_weights": [1.0, 1.0, 3.0]}, F.cross_entropy(logits, given["classes"], torch.tensor([1.0, 1.0, 3.0]), reduction="sum")),
        ({"label_smoothing": 0.1}, F.cross_entropy(logits, given["classes"], label_smoothing=0.1, reduction="sum")),
    ):  # fmt: skip
        found = head(**settings).objective(HIDDEN, given)
        assert found.total.item() == pytest.approx(expected.item(), rel=1e-6)
        assert found.output.loss_sum.item() == pytest.approx(plain(HIDDEN, given).loss_sum.item())


def test_gradients_of_the_objective_are_those_of_the_loss() -> None:
    one, given = head(hidden=True), batch(torch.tensor([2, 0]))
    one.objective(HIDDEN, given).total.backward()
    found = {name: p.grad.clone() for name, p in one.named_parameters()}
    one.zero_grad()
    one(HIDDEN, given).loss_sum.backward()
    for name, p in one.named_parameters():
        assert torch.equal(found[name], p.grad)


def test_uniform_weights_cost_the_log_of_the_classes() -> None:
    one = head()
    torch.nn.init.zeros_(one.output.weight)
    assert one(HIDDEN, batch(torch.tensor([1, 2]))).loss_sum.item() == pytest.approx(2 * math.log(3))


def test_weights_for_another_number_of_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"head\.class_weights has 2 numbers for 3 classes: a, b, c"):
        head(class_weights=[1.0, 2.0])
