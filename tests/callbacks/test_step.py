from __future__ import annotations

from typing import Any, ClassVar

import pytorch_lightning as pl

from manyheads.callbacks.step import step_is_done, validation_is_due


class Spy(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[bool, int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.seen.append((step_is_done(trainer), trainer.global_step))


def test_a_step_ends_with_its_last_batch_and_with_the_epoch(fit: Any, tiny: Any) -> None:
    # guards: saving between two micro-batches, and missing the short step at an epoch's end
    spy = Spy()
    fit(tiny(), [spy], batches=5, max_steps=3, accumulate_grad_batches=2)
    assert spy.seen == [(False, 0), (True, 1), (False, 1), (True, 2), (True, 3)]


def test_a_validation_is_foreseen(fit: Any, tiny: Any) -> None:
    # guards: leaving at a step whose validation a resumed run would not make up for
    class Foresee(pl.Callback):
        seen: ClassVar[list[Any]] = []

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            self.seen.append(validation_is_due(trainer))

        def on_validation_start(self, *args: Any) -> None:
            self.seen.append("validation")

    fit(tiny(), [Foresee()], max_steps=5, val_check_interval=2)
    assert Foresee.seen == [False, True, "validation", False, True, "validation", False]
