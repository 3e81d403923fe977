"""Guards: a baseline that is weaker or stronger than what its formula says, or that counts what is not scored."""

import math

import pytest

from manyheads.baseline.chat import bigram


def test_the_bits_are_those_of_the_formula_by_hand() -> None:
    """Train: 9 -> 0 -> 1 and 9 -> 0 -> 0 -> 1; tokens 0, 1, 0, 0, 1 are scored, so P(0) = 3/5 and P(1) = 2/5 with nothing
    added. After 9 stands 0 twice of two; after 0 stands 0 once and 1 twice of three."""
    train = [[9, 0, 1], [9, 0, 0, 1]]
    found = bigram(train, [[9, 0, 1]], vocab_size=10, num_bytes=4, strength=2.0, added=0.0)
    first, second = (2 + 2 * 3 / 5) / (2 + 2), (2 + 2 * 2 / 5) / (3 + 2)
    assert found == pytest.approx(-(math.log2(first) + math.log2(second)) / 4, rel=1e-12)


def test_what_training_never_saw_costs_what_its_share_of_the_rest_says() -> None:
    """Token 5 and what stands before it are new: (0 + 1) / (1 + 1 * 10) of the unigram alone."""
    found = bigram([[9, 0]], [[8, 5]], vocab_size=10, num_bytes=1, strength=3.0, added=1.0)
    assert found == pytest.approx(math.log2(11), rel=1e-12)


def test_without_training_each_token_is_equally_likely() -> None:
    assert bigram([], [[9, 0, 3, 7]], vocab_size=8, num_bytes=3) == pytest.approx(3.0, rel=1e-12)


def test_the_chances_of_what_may_follow_add_up_to_one() -> None:
    train = [[4, 0, 1, 2], [4, 1, 1, 2]]
    for first in range(5):
        costs = [bigram(train, [[first, token]], vocab_size=5, num_bytes=1) for token in range(5)]
        assert sum(2.0**-cost for cost in costs) == pytest.approx(1.0, rel=1e-12)
