from __future__ import annotations

from typing import Any

from manyheads.callbacks.metrics_log import MetricsLog
from manyheads.callbacks.throughput import Throughput


def test_rows_come_after_the_first_step_at_the_interval_and_at_the_end(fit: Any, tiny: Any, rows: Any) -> None:
    # guards: a mean of means (batch i has i + 1 labels), a lost tail, the next step's learning rate in place of this one's
    log = MetricsLog(Throughput())
    fit(tiny(), [log.throughput, log], logger=rows, max_steps=7, limit_val_batches=0, log_every_n_steps=3)
    assert [step for step, _ in rows.rows] == [1, 3, 6, 7]
    losses = [row["train/loss"] for _, row in rows.rows]
    assert losses == [10.0, 10 * (4 + 9) / 5, 10 * (16 + 25 + 36) / 15, 70.0]
    assert [row["train/tokens"] for _, row in rows.rows] == [1, 6, 21, 28]
    assert [row["optim/lr"] for _, row in rows.rows] == [0.5 / step for step in (1, 3, 6, 7)]
    assert {row["train/grad_norm"] for _, row in rows.rows} == {0.5}
    assert ["perf/tokens_per_sec" in row for _, row in rows.rows] == [False, True, True, True]
    assert rows.saves >= 4


def test_steps_are_optimizer_steps_under_accumulation(fit: Any, tiny: Any, rows: Any) -> None:
    fit(tiny(), [MetricsLog(Throughput())], logger=rows, max_steps=2, accumulate_grad_batches=2, log_every_n_steps=1)
    assert [(step, row["train/loss"], row["train/tokens"]) for step, row in rows.rows] == [
        (1, 10 * (1 + 4) / 3, 3),
        (2, 10 * (9 + 16) / 7, 10),
    ]


def test_a_validation_is_at_the_step_it_scores(fit: Any, tiny: Any, rows: Any) -> None:
    # guards: Lightning's own count, which is one behind at a validation
    fit(tiny(scores=[3.0, 2.0]), [MetricsLog(Throughput())], logger=rows, max_steps=4, val_check_interval=2)
    found = [(step, row) for step, row in rows.rows if "val/loss" in row]
    assert found == [
        (2, {"val/bits_per_byte": 3.0, "val/loss": 6.0, "train/tokens": 3}),
        (4, {"val/bits_per_byte": 2.0, "val/loss": 4.0, "train/tokens": 10}),
    ]


def test_the_newest_values_are_kept_for_the_screen(fit: Any, tiny: Any) -> None:
    log = MetricsLog(Throughput())
    fit(tiny(scores=[3.0]), [log], max_steps=2, val_check_interval=2, log_every_n_steps=2)
    assert (log.last["train/loss"], log.last["val/loss"], log.last_step) == (20.0, 6.0, 2)


def test_losses_of_training_alone_stand_beside_the_loss(fit: Any, tiny: Any, rows: Any) -> None:
    """Guards a term that is divided by the labels of the loss, and one that goes on adding up after a row."""
    lm = tiny()
    lm.train_terms = {name: type(lm.train_totals)() for name in ("z_loss", "never")}

    def add(step: int) -> None:
        lm.train_terms["z_loss"].loss += 6.0 * (step + 1)
        lm.train_terms["z_loss"].count += 2

    lm.on_step = add
    fit(lm, [MetricsLog(Throughput())], logger=rows, max_steps=3, limit_val_batches=0, log_every_n_steps=3)
    assert [(step, row["train/z_loss"]) for step, row in rows.rows] == [(1, 3.0), (3, (12 + 18) / 4)]
    assert not any("train/never" in row for _, row in rows.rows)
