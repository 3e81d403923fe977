from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.metrics_log import MetricsLog
from manyheads.callbacks.progress import Progress, bar_line, duration, number, step_text
from manyheads.callbacks.throughput import Throughput
from manyheads.errors import Interrupted


def make(folder: Path, terminal: bool, width: int = 80, **options: Any) -> tuple[list[Any], io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, color_system=None, legacy_windows=False)
    log = MetricsLog(Throughput())
    saver = RunCheckpoint(folder=folder, monitor="val/bits_per_byte", higher_is_better=False)
    shown = Progress(console=console, log=log, checkpoint=saver, metrics=["loss", "bits_per_byte"], **options)
    return [log.throughput, log, shown, saver], file


def without_numbers_of_time(line: str) -> str:
    words = line.split("  ")
    return "  ".join(word for word in words if not word.endswith(("left", "tokens/s", "in all")))


def test_a_file_gets_one_plain_line_a_row_and_one_a_validation(fit: Any, tiny: Any, tmp_path: Path) -> None:
    callbacks, file = make(tmp_path, terminal=False, width=20)
    lm = tiny(scores=[3.0, 3.5], total=4)
    fit(lm, callbacks, max_steps=4, val_check_interval=2, log_every_n_steps=3)
    assert [without_numbers_of_time(line) for line in file.getvalue().splitlines()] == [
        "step 1/4   25%  loss 10.0000",
        "step 2/4  validation  loss 6.0000  bits per byte 3.0000  best",
        "step 3/4   75%  loss 26.0000",
        "step 4/4  100%  loss 40.0000",
        "step 4/4  validation  loss 7.0000  bits per byte 3.5000",
    ]
    assert "\x1b" not in file.getvalue()


def test_a_terminal_gets_one_line_that_is_redrawn(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: a bar that scrolls: each drawing starts by clearing its line, and no drawing holds a line break
    callbacks, file = make(tmp_path, terminal=True, refresh_per_second=1e9)
    fit(tiny(scores=[3.0], total=6), callbacks, max_steps=6, val_check_interval=6, log_every_n_steps=1)
    drawn = file.getvalue().split("\r\x1b[2K")
    assert len(drawn) > 8
    breaks = [piece for piece in drawn if "\n" in piece]
    assert len(breaks) == 2
    assert breaks[0].startswith("step 6/6  validation  loss 6.0000  bits per byte 3.0000  best\n")
    assert breaks[1].startswith("step 6/6 ")
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_nothing_is_drawn_between_two_refreshes(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: drawing at every step, which would cost more than a small step itself
    callbacks, file = make(tmp_path, terminal=True, refresh_per_second=0.01)
    fit(tiny(total=200), callbacks, max_steps=200, limit_val_batches=0)
    assert file.getvalue().count("\r\x1b[2K") < 6


@pytest.mark.parametrize("terminal", [True, False])
def test_a_step_that_draws_nothing_costs_little(fit: Any, tiny: Any, tmp_path: Path, terminal: bool) -> None:
    costs: list[float] = []

    class Timed(Progress):
        def on_train_batch_end(self, *args: Any) -> None:
            start = time.perf_counter()
            super().on_train_batch_end(*args)
            costs.append(time.perf_counter() - start)

    callbacks, _ = make(tmp_path, terminal=terminal, refresh_per_second=0.01)
    callbacks[2].__class__ = Timed
    fit(tiny(total=200), callbacks, max_steps=200, limit_val_batches=0, log_every_n_steps=1000)
    assert sorted(costs)[100] < 50e-6


def test_an_interrupted_run_leaves_the_bar_at_its_last_step(fit: Any, tiny: Any, tmp_path: Path) -> None:
    def stop(batch: int) -> None:
        if batch == 3:
            raise Interrupted(2, "stopped")

    callbacks, file = make(tmp_path, terminal=True, refresh_per_second=0.01)
    with pytest.raises(Interrupted):
        fit(tiny(on_step=stop, total=9), callbacks, max_steps=9, limit_val_batches=0)
    assert file.getvalue().split("\r\x1b[2K")[-1].startswith("step 3/9 ")
    assert file.getvalue().endswith("\x1b[?25h")


def test_the_line_gives_up_its_parts_before_it_wraps() -> None:
    parts = [" 50%", "1:00 left", "loss 3.1416", "1,000 tokens/s"]
    rest = "   50%  1:00 left  loss 3.1416  1,000 tokens/s"
    assert bar_line("step 5/10", 0.5, parts, 120).plain == f"step 5/10 {'━' * 16}{'─' * 16}{rest}"
    assert bar_line("step 5/10", 0.5, parts, 68, "#-").plain == f"step 5/10 {'#' * 4}{'-' * 5}{rest[:]}"
    assert bar_line("step 5/10", 0.5, parts, 60).plain == f"step 5/10{rest[:]}"
    assert bar_line("step 5/10", 0.5, parts, 45).plain == "step 5/10   50%  1:00 left  loss 3.1416"
    assert bar_line("step 5/10", 0.5, parts, 9).plain == "step 5"
    assert all(bar_line("step 5/10", 0.5, parts, width).cell_len <= max(1, width - 3) for width in range(1, 150))


def test_numbers_and_times_read_well() -> None:
    assert (step_text(7, 3000.0), step_text(1200, float("inf"))) == ("step     7/3,000", "step 1,200")
    assert [duration(t) for t in (0, 0.2, 59.9, 125, 3600, 36061)] == [
        "0:00",
        "0:01",
        "1:00",
        "2:05",
        "1:00:00",
        "10:01:01",
    ]
    assert [number(v) for v in (1.56234, 99.9999, 12345.678, float("nan"))] == ["1.5623", "99.9999", "12,345.7", "nan"]
