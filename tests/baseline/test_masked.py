"""Guards the bigram of masking: by hand, and by a count of each token of the vocabulary."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from manyheads.baseline.masked import bigram


def test_by_hand() -> None:
    """Three tokens; behind 0 stands 1 twice, behind 1 stands 2. P is (1, 3, 2) / 6, and it counts like one observation.
    Behind 0: 1 with (2 + 3/6) / 3. Behind 2, of which nothing is known: 2 with 2/6, and 1 is the likeliest."""
    found = bigram((np.array([0, 0, 1]), np.array([1, 1, 2])), (np.array([0, 2]), np.array([1, 2])), 3, strength=1.0)
    assert found["loss"] == pytest.approx(-(math.log(2.5 / 3) + math.log(2 / 6)) / 2)
    assert found["accuracy"] == 0.5


def test_every_share_and_the_likeliest_of_all() -> None:
    random, size, strength = np.random.default_rng(0), 5, 2.0
    train = random.integers(size - 1, size=30), random.integers(size, size=30)
    test = random.integers(size, size=200), random.integers(size, size=200)
    pairs, after = Counter(zip(*(part.tolist() for part in train), strict=True)), Counter(train[1].tolist())
    before = Counter(train[0].tolist())

    def share(read: int, token: int) -> float:
        prior = (after[token] + 1) / (30 + size)
        return (pairs[read, token] + strength * prior) / (before[read] + strength)

    asked = list(zip(*(part.tolist() for part in test), strict=True))
    right = [max(range(size), key=lambda token: share(read, token)) == hidden for read, hidden in asked]
    found = bigram(train, test, size, strength)
    assert found["loss"] == pytest.approx(-sum(math.log(share(*pair)) for pair in asked) / len(asked))
    assert found["accuracy"] == pytest.approx(sum(right) / len(right))
    assert sum(share(1, token) for token in range(size)) == pytest.approx(1.0)


def test_a_train_without_pairs() -> None:
    nothing = np.empty(0, np.int64)
    found = bigram((nothing, nothing), (np.array([0]), np.array([1])), 4)
    assert found == {"loss": pytest.approx(math.log(4)), "accuracy": 0.0}
