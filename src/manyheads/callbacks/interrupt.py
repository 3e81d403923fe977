"""Ctrl-C and the cluster's signals: finish the step, save, and end with the code that a shell expects."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.step import is_fitting, step_is_done, training_is_over, validation_is_due
from manyheads.errors import SIGNAL_BASE, Interrupted
from manyheads.run.typed import assignment, command

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupt(pl.Callback):
    """After a signal: `last.ckpt` at the next optimizer step's end, then `Interrupted`.

    A validation within training, also one that is due after that step, is finished first. Should the process be killed
    in it, the resumed run makes it. Scoring outside of training ends at the next batch. A second signal raises at once; a third ends the
    process. All ranks end at the same step, whichever of them was told. The handlers are ours from the start of training,
    so that Lightning's, which end the process with code 0 or 1, never run; those from before come back afterwards.

    Args:
        checkpoint: saves `last.ckpt`.
        resume: the command that goes on with the run.
    """

    def __init__(self, *, checkpoint: RunCheckpoint, resume: str) -> None:
        self.checkpoint = checkpoint
        self.resume = resume
        self.signum: int | None = None
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens for signals."""
        self._install()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens for signals."""
        self._install()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens for signals; a training does already."""
        if not is_fitting(trainer):
            self._install()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leaves after a step in which a signal came; before a validation that is due it saves, and the validation is made first."""
        if not step_is_done(trainer) or not self._told(trainer):
            return
        if training_is_over(trainer):
            return  # the last validation comes first: of a run that is saved at its last step, training does not go on
        if validation_is_due(trainer):
            self.checkpoint.save(trainer, before_validation=True)  # first, for there may be little time
        else:
            self._leave(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves a training in which a signal came; after scoring alone, signals are again what they were."""
        if not is_fitting(trainer):
            self._restore()
        elif step_is_done(trainer) and self._told(trainer):
            self._leave(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves when a signal has come, and makes signals again what they were."""
        if self._told(trainer):
            self._leave(trainer)
        self._restore()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leaves scoring when a signal has come; a training goes on to the validation's end."""
        if not is_fitting(trainer):
            self._leave_scoring()

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leaves when a signal has come."""
        self._leave_scoring()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes signals again what they were."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Makes signals again what they were."""
        self._restore()

    def _told(self, trainer: pl.Trainer) -> bool:
        """Whether any rank has had a signal; every rank then knows a number for it."""
        if trainer.world_size == 1:
            return self.signum is not None
        number = torch.tensor(self.signum or 0, device=trainer.strategy.root_device)
        agreed = int(trainer.strategy.reduce(number, reduce_op="max"))  # type: ignore[arg-type]
        if agreed:  # else one may have come since it was asked for: it counts at the next step
            self.signum = agreed
        return bool(agreed)

    def _leave(self, trainer: pl.Trainer) -> None:
        assert self.signum is not None
        self.checkpoint.save(trainer)
        step = f"{trainer.global_step:,}"
        raise Interrupted(self.signum, f"Stopped by {_name(self.signum)} after step {step}, saved. {self._go_on()}")

    def _leave_scoring(self) -> None:
        if self.signum is not None:
            raise Interrupted(self.signum, f"Stopped by {_name(self.signum)} while scoring. {self._go_on()}")

    def _go_on(self) -> str:
        return f"Go on with: {self.resume}"

    def _handle(self, signum: int, frame: Any) -> None:
        self.signum = signum
        self._count += 1
        if self._count == 1:
            # os.write, since a handler may interrupt a print; the escape code clears the bar's line, and a ^C
            clear = "\r\x1b[2K" if os.isatty(2) else ""
            os.write(
                2,
                f"{clear}{_name(signum)}: saving at the end of this step or validation; once more to leave at once.\n".encode(),
            )
        elif self._count == 2:
            raise Interrupted(signum, f"Stopped by {_name(signum)} at once, without saving. {self._go_on()}")
        else:
            os._exit(SIGNAL_BASE + signum)

    def _install(self) -> None:
        self.signum, self._count = None, 0
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def resume_command(folder: Path) -> str:
    """What a user types to go on with the run in `folder`."""
    return f"{command('train')} {assignment('resume', folder.resolve())}"


def _name(signum: int) -> str:
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
