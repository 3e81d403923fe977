from __future__ import annotations

from typing import Any

import pytest

from manyheads.callbacks import throughput as module
from manyheads.callbacks.throughput import Throughput


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_validation_does_not_count(fit: Any, tiny: Any, clock: Clock) -> None:
    # guards: tokens per second that sink with every validation
    def step(batch: int) -> None:
        clock.now += 2.0

    def validate(batch: int) -> None:
        clock.now += 1000.0

    meter = Throughput()
    fit(tiny(on_step=step, on_val_batch=validate), [meter], max_steps=4, val_check_interval=2)
    assert meter.seconds() == 8.0
    assert meter.lap(10) == 10 / 8


def test_a_lap_counts_from_the_lap_before(fit: Any, tiny: Any, clock: Clock) -> None:
    laps: list[float | None] = []

    def step(batch: int) -> None:
        clock.now += 2.0
        laps.append(meter.lap(5 * (batch + 1)))

    meter = Throughput()
    fit(tiny(on_step=step), [meter], max_steps=3, limit_val_batches=0)
    assert laps == [2.5, 2.5, 2.5]
    assert meter.lap(20) is None


def test_a_resumed_run_counts_its_own_tokens_only(fit: Any, tiny: Any, clock: Clock) -> None:
    # guards: a first rate after a resume that holds all tokens of the run so far
    def step(batch: int) -> None:
        clock.now += 1.0

    lm, meter = tiny(on_step=step), Throughput()
    lm.tokens_seen = 1_000_000
    fit(lm, [meter], max_steps=2, limit_val_batches=0)
    assert meter.lap(lm.tokens_seen) == 3 / 2
