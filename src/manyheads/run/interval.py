"""A mean over seeds with its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# the 0.975 quantile of Student's t for 1, 2, ... 30 degrees of freedom (Fisher and Yates, Statistical Tables, table III)
_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Mean(NamedTuple):
    """Of some runs that differ by their seed alone."""

    value: float
    half_width: float | None  # of the 95 % interval; None: of a single run nobody knows
    runs: int


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of at least one number, +- t s / sqrt(n) with Student's t of n - 1 degrees of freedom (Student 1908)."""
    count = len(values)
    if count == 1:
        return Mean(values[0], None, 1)
    error = statistics.stdev(values) / math.sqrt(count)
    return Mean(statistics.fmean(values), quantile(count - 1) * error, count)


def quantile(degrees: int) -> float:
    """The 0.975 quantile of Student's t; from 31 degrees of freedom on by its expansion around that of the normal
    distribution (Abramowitz and Stegun 1964, 26.7.5), to 1e-5."""
    if degrees <= len(_QUANTILES):
        return _QUANTILES[degrees - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
