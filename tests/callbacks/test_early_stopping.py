from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from manyheads.callbacks.early_stopping import StopEarly


@pytest.mark.parametrize(
    ("up", "scores", "min_delta", "steps"),
    [
        (False, [5.0, 4.0, 4.5, 4.0, 1.0], 0.0, 8),
        (True, [1.0, 2.0, 3.0, 4.0, 5.0], 0.0, 10),
        (True, [1.0, 2.0, 3.0, 4.0, 5.0], 1.5, 10),  # measured from the best, not from the one before
        (True, [1.0, 1.4, 1.8, 1.9, 9.0], 1.0, 6),
    ],
)
def test_it_stops_after_so_many_validations_without_an_improvement(
    fit: Any, tiny: Any, up: bool, scores: list[float], min_delta: float, steps: int
) -> None:
    # guards: a direction or a patience of its own, and a stop that nobody is told of
    file = io.StringIO()
    stop = StopEarly(
        console=Console(file=file), monitor="val/bits_per_byte", higher_is_better=up, patience=2, min_delta=min_delta
    )
    trainer = fit(tiny(scores=scores), [stop], max_steps=10, val_check_interval=2)
    assert trainer.global_step == steps
    said = "val/bits_per_byte has not improved for 2 validations: training stops early.\n"
    assert file.getvalue() == (said if steps < 10 else "")
