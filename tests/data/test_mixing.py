"""The order of rows of several sources: shares that hold exactly, rows that come in turn."""

import numpy as np
import pytest

from manyheads.data.mixing import MixedOrder, interleaved


def test_parts_alternate_by_their_rates():
    """Hand counted: with 3:1, the second part stands in the middle of each four."""
    assert interleaved([0.75, 0.25], 8).tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    assert interleaved([0.5, 0.5], 4).tolist() == [0, 1, 0, 1]
    assert interleaved([1.0, 0.0], 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("rates", [[0.7, 0.3], [0.01, 0.99], [0.5, 0.3, 0.2]])
def test_the_share_holds_from_the_beginning(rates: list[float]):
    """Guards: a share that is only reached in the end, so that a short run is another mixture."""
    pattern = interleaved(rates, 1000)
    taken = np.cumsum(pattern[:, None] == np.arange(len(rates)), axis=0)
    assert np.abs(taken - np.arange(1, 1001)[:, None] * np.array(rates)).max() <= 1.0


def test_weights_are_shares_of_tokens_exactly():
    """Part 0 has rows of 2 tokens, part 1 of 6: equal weights take three rows of part 0 for each of part 1."""
    order = MixedOrder([30, 10], [60, 60], [1, 1], seed=1, shuffle=True)
    rows = order(0)
    tokens = [2 * int((rows < 30).sum()), 6 * int((rows >= 30).sum())]
    assert len(rows) == 40
    assert tokens == [60, 60]
    order = MixedOrder([30, 10], [60, 60], [1, 3], seed=1, shuffle=True)
    assert [2 * int((order(0) < 30).sum()), 6 * int((order(0) >= 30).sum())] == [40, 120]


def test_without_weights_each_row_comes_once_an_epoch():
    order = MixedOrder([7, 13, 1], [70, 13, 9], None, seed=1, shuffle=True)
    for epoch in range(3):
        assert sorted(order(epoch).tolist()) == list(range(21))
    assert order(0).tolist() != order(1).tolist()
    assert order.passes(2, 0).tolist() == [2, 2, 2]


def test_a_part_goes_on_where_it_was_left_and_begins_anew_when_used_up():
    """Guards: rows of a large source that never come, and a small one that repeats a row before all have come."""
    order = MixedOrder([5, 100], [5, 100], [1, 1], seed=3, shuffle=True)
    rows = np.concatenate([order(epoch) for epoch in range(4)])
    small, large = rows[rows < 5], rows[rows >= 5] - 5
    assert (len(small), len(large)) == (212, 208)
    assert all(sorted(small[i : i + 5]) == list(range(5)) for i in range(0, 210, 5))
    assert sorted(large[:100]) == sorted(large[100:200]) == list(range(100))
    assert large[:100].tolist() != large[100:200].tolist()
    assert order.passes(1, 11).tolist() == pytest.approx([(53 + 6) / 5, (52 + 5) / 100])


def test_unshuffled_each_epoch_is_the_first_in_order():
    order = MixedOrder([2, 4], [2, 4], [1, 1], seed=3, shuffle=False)
    assert order(0).tolist() == order(5).tolist() == [0, 2, 1, 3, 0, 4]


def test_a_part_of_no_weight_gives_no_row():
    order = MixedOrder([3, 4], [3, 4], [0, 1], seed=3, shuffle=True)
    assert sorted(order(0).tolist()) == [3, 4, 5, 6]
