"""Means over seeds: by hand, and quantiles against scipy's where it is installed."""

import pytest

from manyheads.run.interval import Mean, mean_of, quantile


def test_three_seeds_by_hand() -> None:
    # s = 1, t(2) = 4.303, 4.303 / sqrt(3) = 2.4843
    assert mean_of([1.0, 2.0, 3.0]) == Mean(2.0, pytest.approx(2.4843, abs=1e-4), 3)


def test_a_single_run_has_no_interval() -> None:
    assert mean_of([1.5]) == Mean(1.5, None, 1)


def test_equal_runs_have_one_of_no_width() -> None:
    assert mean_of([0.25, 0.25]) == Mean(0.25, 0.0, 2)


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 30, 31, 60, 500])
def test_quantiles_are_those_of_students_t(degrees: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-3)
