"""Sums that are kept until they are asked for."""

from __future__ import annotations

import torch

from manyheads.head.base import HeadOutput
from manyheads.metric.sums import ExampleSums, Totals


def test_example_sums_collect_an_example_that_is_spread_over_batches() -> None:
    sums = ExampleSums()
    sums.add(torch.tensor([3, 3, 5]), torch.tensor([1.0, 0.5, 2.0]))
    sums.add(torch.tensor([5, 7]), torch.tensor([0.25, 4.0]))
    assert sums.loss == {3: 1.5, 5: 2.25, 7: 4.0}
    assert sums.count == {3: 2, 5: 2, 7: 1}


def test_totals_stay_exact_where_float32_would_not() -> None:
    """2^24 + 1 is no float32: a count kept in float32 stops growing there."""
    totals = Totals()
    totals.add(HeadOutput(torch.tensor(1.0), torch.tensor(2**24)))
    totals.add(HeadOutput(torch.tensor(1.0), torch.tensor(1)))
    assert totals.take() == (2.0, float(2**24 + 1))


def test_totals_go_on_from_an_earlier_process() -> None:
    """A row of the log is a mean over all steps since the last row, also when a resume lies between."""
    first, second = Totals(), Totals()
    first.add(HeadOutput(torch.tensor(3.0), torch.tensor(4)))
    second.start_from(*first.peek())
    assert first.peek() == second.peek() == (3.0, 4.0)
    second.add(HeadOutput(torch.tensor(1.0), torch.tensor(2)))
    assert (second.take(), second.take()) == ((4.0, 6.0), (0.0, 0.0))
