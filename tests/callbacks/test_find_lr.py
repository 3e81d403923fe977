from __future__ import annotations

import math

import pytest

from manyheads.callbacks.find_lr import factor_at, smoothed, suggestion


def test_the_range_is_exponential() -> None:
    # guards: equal differences in the place of equal ratios
    assert [factor_at(n / 5) for n in range(6)] == pytest.approx([1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0], rel=1e-12)


def test_smoothing_shifts_nothing() -> None:
    # guards: an average that lags, and so suggests a rate that is too large: a line stays that line
    assert smoothed([float(n) for n in range(20)]) == pytest.approx([float(n) for n in range(20)])
    assert smoothed([0.0, 0.0, 9.0, 0.0, 0.0]) == pytest.approx([0.0, 3.0, 9 / 5, 3.0, 0.0])


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    # guards: a slope over the step in the place of the factor, and the end of the fall for its middle: a logistic fall
    # is steepest in its middle, at step 40; after it the loss rises far more steeply and falls again
    factors = [factor_at(n / 100) for n in range(100)]
    losses = [5 - 2 / (1 + math.exp(-(n - 40) / 4)) + (0.5 * (n - 70) if n > 70 else 0) for n in range(99)]
    assert suggestion(factors, [*losses, 3.5]) == factors[40]
    assert suggestion(factors, [*losses[:80], math.nan]) == factors[40]


def test_no_suggestion_where_the_loss_does_not_fall() -> None:
    # guards: a number out of nothing
    factors = [factor_at(n / 50) for n in range(50)]
    assert suggestion(factors, [1.0 + n for n in range(50)]) is None
    assert suggestion(factors[:5], [5.0, 4.0, 3.0, 2.0, 1.0]) is None
