"""Guards a trace that a browser opens, of training alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyheads.callbacks.trace import Trace


def names(path: Path) -> list[str]:
    return [event.get("name", "") for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]]


def test_a_few_batches_after_the_first_are_recorded(fit: Any, tiny: Any, tmp_path: Path) -> None:
    """Each batch makes one step of the optimizer; the validation after the eighth is not in it."""
    path = tmp_path / "profile" / "trace.json"
    fit(tiny(), [Trace(path, wait=2, batches=3)], max_steps=9, val_check_interval=8)
    found = names(path)
    assert sum(name.startswith("Optimizer.step#") for name in found) == 3
    assert "aten::linear" in found
    assert [file.name for file in path.parent.iterdir()] == ["trace.json"]


@pytest.mark.parametrize(("steps", "recorded"), [(3, 2), (1, None)])
def test_a_run_that_ends_earlier_records_less(
    steps: int, recorded: int | None, fit: Any, tiny: Any, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    fit(tiny(), [Trace(path, wait=1, batches=5)], max_steps=steps, limit_val_batches=0)
    assert path.exists() == (recorded is not None)
    if recorded:
        assert sum(name.startswith("Optimizer.step#") for name in names(path)) == recorded


def test_a_run_that_fails_still_has_what_led_there(fit: Any, tiny: Any, tmp_path: Path) -> None:
    def fail(batch: int) -> None:
        if batch == 2:
            raise RuntimeError("planted")

    path = tmp_path / "trace.json"
    with pytest.raises(RuntimeError, match="planted"):
        fit(tiny(on_step=fail), [Trace(path)], max_steps=9, limit_val_batches=0)
    assert "aten::linear" in names(path)
