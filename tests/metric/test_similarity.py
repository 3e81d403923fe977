"""Spearman's rank correlation, held to scipy and to a case by hand."""

from __future__ import annotations

import math
import random

import pytest

from manyheads.metric.similarity import Similarity


def test_by_hand() -> None:
    """Ranks 1 2 3 4 and 2 1 3.5 3.5: means 2.5, products -1.5 * -0.5 + -0.5 * -1.5 + 0.5 * 1 + 1.5 * 1 = 3.5, over
    sqrt(5 * 4.5)."""
    found = Similarity().score([0.1, 0.2, 0.3, 0.9], [5.0, 1.0, 7.0, 7.0])
    assert found == pytest.approx(3.5 / math.sqrt(5 * 4.5), rel=1e-12)
    assert Similarity().score([1, 2, 3], [10, 20, 99]) == pytest.approx(1.0, abs=1e-15)
    assert Similarity().score([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0, abs=1e-15)


def test_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    draw = random.Random(0)
    for size in (2, 5, 40, 353):
        one, other = [[draw.randint(0, 9) / 3 for _ in range(size)] for _ in range(2)]
        one[0] += 0.5
        other[0] += 0.25
        assert Similarity().score(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


def test_nothing_to_compare() -> None:
    assert math.isnan(Similarity().score([], []))
    assert math.isnan(Similarity().score([1.0], [2.0]))
    assert math.isnan(Similarity().score([1.0, 1.0], [2.0, 3.0]))
