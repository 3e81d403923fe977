"""What a run shows while it trains: one live line on a terminal, plain lines elsewhere, a line at each validation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.live import Live
from rich.text import Text

from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.metrics_log import MetricsLog
from manyheads.callbacks.step import as_lm, is_fitting, step_is_done
from manyheads.errors import Interrupted

BAR_WIDTH = 32
GLYPHS = "━─"  # used, left; they differ in shape, for terminals without colour
ASCII_GLYPHS = "#-"
BAR_LEAST = 8  # a shorter bar says nothing: the room goes to the numbers


class Progress(pl.Callback):
    """Draws step, share of the budget, time left, loss and tokens per second; works for every kind of budget.

    On a terminal one line is redrawn at most `refresh_per_second` times a second. Elsewhere a line is printed for each
    row of the metrics log. A validation adds a line with its metrics.
    """

    def __init__(
        self,
        *,
        console: Console,
        log: MetricsLog,
        checkpoint: RunCheckpoint,
        metrics: Sequence[str],
        refresh_per_second: float = 4.0,
    ) -> None:
        """`metrics` are the names, without `val/`, in the order in which a validation's line shows them."""
        self.console = console
        self.log_rows = log
        self.checkpoint = checkpoint
        self.metrics = metrics
        self._interval = 1 / refresh_per_second
        self._live: Live | None = None
        self._next_draw = self._began = 0.0
        self._steps = math.inf
        self._start: tuple[float, float] | None = None  # when the first step had ended, and the share used by then
        self._printed = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, and on a terminal the live line."""
        self._steps = as_lm(pl_module).total_steps()
        self._began = time.monotonic()
        self._start, self._printed = None, trainer.global_step
        if trainer.is_global_zero and self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, redirect_stdout=True, redirect_stderr=True)
            self._live.start()
            self._draw(trainer, pl_module, "starting")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws the live line when it is due, or prints the row that was logged."""
        now = time.monotonic()
        if self._start is None and step_is_done(trainer):
            self._start = (now, as_lm(pl_module).progress())
        if self._live is not None:
            if now >= self._next_draw:
                self._draw(trainer, pl_module)
        elif self.log_rows.last_step > self._printed:
            self._print_row(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the row of the last step, where there is no live line."""
        if is_fitting(trainer) and self._live is None and self.log_rows.last_step > self._printed:
            self._print_row(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws how far the validation is, when it is due."""
        if self._live is not None and time.monotonic() >= self._next_draw:
            total = trainer.num_val_batches[dataloader_idx]
            self._draw(
                trainer, pl_module, f"validating {batch_idx + 1:,}{f'/{total:,}' if math.isfinite(total) else ''}"
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the scores, and whether they are the best so far."""
        if not (is_fitting(trainer) and trainer.is_global_zero) or trainer.sanity_checking:
            return
        found = trainer.callback_metrics
        values = {name: float(found[f"val/{name}"]) for name in self.metrics if f"val/{name}" in found}
        score = float(trainer.callback_metrics[self.checkpoint.monitor])
        line = f"{step_text(trainer.global_step, self._steps)}  validation  {metrics_text(values)}"
        best = self.checkpoint.rank(score) == 0
        self.console.print(
            Text(line + ("  best" if best else ""), style="bold"), soft_wrap=not self.console.is_terminal
        )
        if self._live is not None:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows the last step, and ends the live line."""
        if self._live is not None:
            self._draw(trainer, pl_module)
        elif trainer.is_global_zero and self.log_rows.last_step > self._printed:
            self._print_row(trainer, pl_module)
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Ends the live line, which after a signal shows the step that was made last."""
        if self._live is not None and isinstance(exception, Interrupted):
            self._draw(trainer, pl_module)
        self._stop()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Ends the live line, whatever happened."""
        self._stop()

    def _print_row(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._printed = self.log_rows.last_step
        if trainer.is_global_zero:
            parts = [step_text(trainer.global_step, self._steps), *self._parts(as_lm(pl_module).progress())]
            self.console.print(Text("  ".join(parts)), soft_wrap=True)

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule, doing: str | None = None) -> None:
        assert self._live is not None
        share = as_lm(pl_module).progress()
        head, parts = step_text(trainer.global_step, self._steps), self._parts(share)
        if doing:
            parts[1:] = [doing, *parts[2:]]
        glyphs = ASCII_GLYPHS if self.console.options.ascii_only else GLYPHS
        self._live.update(bar_line(head, share, parts, self.console.width, glyphs), refresh=True)
        # after the drawing, so that a slow terminal cannot take all the time
        self._next_draw = time.monotonic() + self._interval

    def _parts(self, share: float) -> list[str]:
        """[percent, time left, loss, rate], as far as they are known; percent and time left always."""
        row = self.log_rows.last
        parts = [f"{math.floor(share * 100 + 1e-9):3d}%", self._time_left(share)]
        if "train/loss" in row:
            parts.append(f"loss {number(row['train/loss'])}")
        if "perf/tokens_per_sec" in row:
            parts.append(f"{row['perf/tokens_per_sec']:,.0f} tokens/s")
        return parts

    def _time_left(self, share: float) -> str:
        if self._start is None or share <= self._start[1]:
            return "-:-- left"
        elapsed = time.monotonic() - self._start[0]
        if share >= 1:
            return f"{duration(time.monotonic() - self._began)} in all"
        return f"{duration(elapsed * (1 - share) / (share - self._start[1]))} left"

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def bar_line(head: str, share: float, parts: Sequence[str], width: int, glyphs: str = GLYPHS) -> Text:
    """One line of at most `width` columns: the step, a bar as long as there is room for, and the parts."""
    shown = list(parts)
    # two columns stay free: a terminal echoes ^C there, and must not wrap
    while shown and len(head) + len("  ".join(["", *shown])) > width - 3:
        shown.pop()
    tail = "  ".join(["", *shown])
    room = min(BAR_WIDTH, width - 3 - len(head) - len(tail) - 1)
    line = Text(head, no_wrap=True, overflow="crop", end="")
    if room >= BAR_LEAST:
        full = round(share * room)
        line.append(" ").append(glyphs[0] * full, style="green").append(glyphs[1] * (room - full), style="bright_black")
    line.append(tail)
    line.truncate(max(1, width - 3))
    return line


def step_text(step: int, total: float) -> str:
    """`step 1,200/3,000`, or `step 1,200` when only time or tokens limit the run."""
    if not math.isfinite(total):
        return f"step {step:,}"
    of = f"{math.ceil(total):,}"
    return f"step {step:>{len(of)},}/{of}"


def metrics_text(values: dict[str, float]) -> str:
    """`loss 2.3456  bits per byte 1.6234`."""
    return "  ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in values.items())


def number(value: float) -> str:
    """Four decimals below a hundred, one above."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def duration(seconds: float) -> str:
    """Minutes and seconds, `2:05`, with hours in front when there are any, `1:02:05`."""
    whole = max(0, math.ceil(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
