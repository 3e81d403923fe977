"""What all metrics share."""

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric import base
from manyheads.metric.base import Metric
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.perplexity import Perplexity

ALL = [Loss, Perplexity, BitsPerByte]


@pytest.mark.parametrize("metric", ALL)
def test_states_are_float64_sums_that_stay_so_in_half_precision(metric: type[Metric]) -> None:
    """Guards against a large split whose small losses are rounded away."""
    made = metric().half().to(torch.bfloat16)
    assert {getattr(made, state).dtype for state in made._defaults} == {torch.float64}
    assert len(made._defaults) == 2


def test_a_large_sum_keeps_small_losses() -> None:
    """Guards against float32 sums: 2**24 + 1 is 2**24 there."""
    metric = Loss()
    batch = Batch(input_ids=torch.zeros(1, 1, dtype=torch.long))
    metric.update(HeadOutput(torch.tensor(2.0**24), torch.tensor(1)), batch)
    metric.update(HeadOutput(torch.tensor(1.0), torch.tensor(0)), batch)
    assert metric.compute().item() == 2.0**24 + 1


@pytest.mark.parametrize("metric", ALL)
def test_moves_to_a_device_without_float64(metric: type[Metric], monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a Mac, whose GPU has no float64; the meta device stands for it."""
    monkeypatch.setattr(base, "WITHOUT_FLOAT64", {"meta"})
    made = metric().to("meta")
    assert {(getattr(made, state).dtype, made._defaults[state].dtype) for state in made._defaults} == {
        (torch.float32, torch.float32)
    }
    made.reset()
    assert {getattr(made, state).dtype for state in made._defaults} == {torch.float32}


@pytest.mark.parametrize("metric", ALL)
def test_sums_are_added_over_ranks_and_reset_to_zero(metric: type[Metric]) -> None:
    """Guards against a mean over ranks, which is wrong when they hold unequal counts."""
    made = metric()
    assert {reduce.__name__ for reduce in made._reductions.values()} == {"dim_zero_sum"}
    assert not made.higher_is_better


def test_names_and_units_are_those_of_the_tables() -> None:
    """Guards against a renamed `val/...`, on which checkpoints and dashboards depend."""
    assert [(metric.name, metric.unit) for metric in ALL] == [
        ("loss", "nats per token"),
        ("perplexity", "tokens"),
        ("bits_per_byte", "bits per byte"),
    ]
