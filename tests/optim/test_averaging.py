"""Running averages against a mean and a recurrence written out."""

import pytest
import torch

from manyheads.optim.averaging import RunningAverage

VALUES = (5.0, 1.0, -2.0, 4.0)


def after_each(average: RunningAverage) -> list[float]:
    weight = torch.zeros(1, dtype=torch.float64)
    found = []
    for value in VALUES:
        weight.fill_(value)
        average.update([weight])
        found.append(average.averages[0].item())
    return found


def test_swa_is_the_mean_so_far() -> None:
    """Guards against an average that shares memory with the weights, and an off-by-one in the count."""
    assert after_each(RunningAverage("swa")) == pytest.approx([5.0, 3.0, 4 / 3, 2.0], rel=1e-12)


def test_ema_is_the_recurrence_with_a_decay_that_rises() -> None:
    """Guards against d and 1 - d swapped, and against a decay that passes its limit: 1/10, 2/11, then 0.2 for 3/12."""
    wanted = [5.0]
    for value, decay in zip(VALUES[1:], (0.1, 2 / 11, 0.2), strict=True):
        wanted.append(decay * wanted[-1] + (1 - decay) * value)
    assert after_each(RunningAverage("ema", decay=0.2)) == pytest.approx(wanted, rel=1e-12)


def test_each_kind_has_its_start() -> None:
    """Guards against an SWA that averages the beginning of a run."""
    assert [RunningAverage("ema").start, RunningAverage("swa").start] == [0.0, 0.75]
    assert RunningAverage("swa", start=0.0).start == 0.0
