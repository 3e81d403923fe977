"""Guards: a head of one's own that forgets half of the contract, and finds out in the middle of a run."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.head.base import Head, HeadOutput, Scores


class Half(Head):
    """A head without `scores`, which only evaluation would ask for."""

    kinds: ClassVar[frozenset[str]] = frozenset({"causal"})

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        return HeadOutput(hidden.sum(), torch.tensor(hidden.numel()))


class Whole(Half):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        losses = hidden[..., 0] * self.weight[0]
        return Scores(losses, losses > 0)


def test_a_head_without_scores_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="scores"):
        Half()  # type: ignore[abstract]


def test_a_head_is_a_module_that_is_called() -> None:
    head = Whole()
    output = head(torch.full((2, 3, 4), 0.5), Batch())
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert (output.loss_sum.item(), output.count.item()) == (12.0, 24)


def test_sum_and_count_come_in_this_order() -> None:
    """`count` is also a method of every tuple: the field must win."""
    loss_sum, count, _ = HeadOutput(torch.tensor(6.0), torch.tensor(3))
    assert (loss_sum.item(), count.item()) == (6.0, 3)
    assert isinstance(HeadOutput(loss_sum, count).count, Tensor)
