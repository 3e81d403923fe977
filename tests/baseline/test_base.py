"""Guards: baselines that every run of a sweep computes anew, and a sample of rows that is not spread over all."""

from __future__ import annotations

import math

from manyheads.baseline.base import evenly, kept
from manyheads.data.cache import fingerprint


def test_scores_are_computed_once_and_come_back_as_they_were() -> None:
    calls = []

    def compute() -> dict[str, dict[str, float]]:
        calls.append(1)
        return {"rule": {"score": 1 / 3, "nothing": math.nan}}

    first, second = (kept(fingerprint("test_base"), compute) for _ in range(2))
    assert len(calls) == 1
    assert first["rule"]["score"] == second["rule"]["score"] == 1 / 3
    assert math.isnan(second["rule"]["nothing"])


def test_a_sample_goes_from_the_first_row_to_the_last() -> None:
    assert evenly(3, 5).tolist() == [0, 1, 2]
    assert evenly(9, 3).tolist() == [0, 4, 8]
