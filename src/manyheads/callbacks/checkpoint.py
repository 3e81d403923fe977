"""When checkpoints are saved, under which names, and which of them stay."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from manyheads.atomic import UNFINISHED
from manyheads.callbacks.checkpoint_io import read_checkpoint
from manyheads.callbacks.step import is_fitting, step_is_done, validation_is_due
from manyheads.errors import UserError

LAST = "last.ckpt"
BEST = "best.ckpt"


class RunCheckpoint(pl.Callback):
    """Saves `last.ckpt` and the best k at each validation, `step_XXXXXXXX.ckpt` every n steps, and `last.ckpt` at the end.

    Every save is one write of `last.ckpt`, so `last` is always the newest; the other names are links to that file (files
    here are replaced, never changed). `best.ckpt` is the best, `best-2.ckpt` the next. With no validation in the whole
    run, `best.ckpt` is the last. What the callback remembers holds names only, so that a run folder can move.

    Args:
        folder: where the files go.
        monitor: name of the metric that says which is best, as in `trainer.callback_metrics`.
        higher_is_better: its direction.
        save_best: how many of the best are kept, at least 1.
        save_every_n_steps: saves by optimizer step, on top of those at validations; None: none.
        keep: how many of the `step_*.ckpt` files stay, the newest; None: all.
    """

    def __init__(
        self,
        *,
        folder: Path,
        monitor: str,
        higher_is_better: bool,
        save_best: int = 1,
        save_every_n_steps: int | None = None,
        keep: int | None = 1,
    ) -> None:
        self.folder = folder
        self.monitor = monitor
        self.higher_is_better = higher_is_better
        self.save_best = save_best
        self.save_every_n_steps = save_every_n_steps
        self.keep = keep
        self.scores: list[float] = []  # of best.ckpt, best-2.ckpt, ...
        self.steps: list[int] = []  # the optimizer step of each of them
        self.last_step: int | None = None  # what last.ckpt holds; None: nothing was saved by this run
        self._deferred = False
        self._owed = False  # whether what is saved, or was loaded, lacks the validation of its step

    @property
    def best_path(self) -> Path:
        """Where the best checkpoint is."""
        return self.folder / BEST

    @property
    def last_path(self) -> Path:
        """Where the newest checkpoint is."""
        return self.folder / LAST

    def rank(self, score: float) -> int:
        """The place, from 0, that `score` takes among the best so far; `save_best` or more means none. NaN is last."""
        if math.isnan(score):
            return self.save_best
        sign = 1.0 if self.higher_is_better else -1.0
        # ties go to the earlier checkpoint
        return sum(1 for old in self.scores if sign * old >= sign * score)

    def save(self, trainer: pl.Trainer, *, before_validation: bool = False) -> None:
        """Saves `last.ckpt` unless it already holds this step. To be called by all ranks, with no gradients pending.

        A run that resumes from a save `before_validation` begins with the validation that was due.
        """
        if self.last_step != trainer.global_step:
            self._owed = before_validation
            self._write(trainer)
            self._owed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Has the validation made that the checkpoint was saved before, if there is one."""
        self._deferred = False
        if self._owed:
            trainer.fit_loop.epoch_loop.owes_validation = True  # type: ignore[attr-defined]
            self._owed = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves where it is time for a further checkpoint, or where a save was put off to the step's end."""
        if not step_is_done(trainer):
            return
        if self._is_due(trainer.global_step):
            # before a validation it would lack that one's scores, for which no resumed run makes up
            if not validation_is_due(trainer):
                self._write(trainer)
                self._keep_this_step(trainer)
        elif self._deferred:
            self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves, and gives the checkpoint its place among the best; within an accumulation only where it has one."""
        if not is_fitting(trainer) or trainer.sanity_checking:
            return
        place = self._enter(float(trainer.callback_metrics[self.monitor]), trainer.global_step)
        if place is not None or step_is_done(trainer):
            self._write(trainer)
        if place is not None:
            if trainer.is_global_zero:
                self._shift(place)
            trainer.strategy.barrier()
        if step_is_done(trainer) and self._is_due(trainer.global_step):
            self._keep_this_step(trainer)
        # a checkpoint in the middle of an accumulation would lose gradients on resume: write last again at the step's end
        self._deferred = not step_is_done(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves the last step; where nothing was validated, the last is the best."""
        self.save(trainer)
        if trainer.is_global_zero and not self.scores:
            _link(self.last_path, self.best_path)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        """The scores and steps of the best checkpoints, best first, and whether a validation is still to be made."""
        best = {"monitor": self.monitor, "scores": list(self.scores), "steps": list(self.steps)}
        return {**best, "validation_owed": self._owed}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Ends what a kill between the save of this step and its names may have left undone."""
        state, step = checkpoint["callbacks"].get(self.state_key, {}), checkpoint["global_step"]
        if is_fitting(trainer) and trainer.is_global_zero and self.last_path.is_file():
            if step in state.get("steps", []):
                _finish_links(self.folder, state["steps"])
            if self._is_due(step) and not state.get("validation_owed"):
                self._keep_step(step)
        trainer.strategy.barrier()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the best list again, as far as its files are in the folder and were ranked by the same metric."""
        self._owed = state_dict.get("validation_owed", False)
        if state_dict["monitor"] != self.monitor:
            return
        there = 0
        while there < len(state_dict["scores"]) and (self.folder / best_name(there)).exists():
            there += 1
        self.scores = list(state_dict["scores"][:there])[: self.save_best]
        self.steps = list(state_dict["steps"][:there])[: self.save_best]

    def _enter(self, score: float, step: int) -> int | None:
        place = self.rank(score)
        if place >= self.save_best:
            return None
        self.scores = [*self.scores[:place], score, *self.scores[place:]][: self.save_best]
        self.steps = [*self.steps[:place], step, *self.steps[place:]][: self.save_best]
        return place

    def _is_due(self, step: int) -> bool:
        every = self.save_every_n_steps
        return every is not None and step % every == 0

    def _keep_this_step(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            self._keep_step(trainer.global_step)
        trainer.strategy.barrier()

    def _keep_step(self, step: int) -> None:
        """Gives what `last.ckpt` holds the name of its step too."""
        _link(self.last_path, self.folder / f"step_{step:08d}.ckpt")
        self._prune()

    def _write(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.last_path, weights_only=False)
        self.last_step = trainer.global_step
        self._deferred = False

    def _shift(self, place: int) -> None:
        """Moves the checkpoints from `place` on one place down, then links the newest there; none is ever missing."""
        for i in range(len(self.scores) - 1, place, -1):
            _link(self.folder / best_name(i - 1), self.folder / best_name(i))
        _link(self.last_path, self.folder / best_name(place))

    def _prune(self) -> None:
        if self.keep is not None:
            for path in sorted(self.folder.glob("step_*.ckpt"))[: -self.keep]:
                path.unlink()


def best_name(place: int) -> str:
    """The file of the checkpoint at `place` in the best list: best.ckpt, best-2.ckpt, ..."""
    return BEST if place == 0 else f"best-{place + 1}.ckpt"


def _finish_links(folder: Path, steps: Sequence[int]) -> None:
    """Gives the checkpoint of each step of the best list the name of its place, where it has not got it yet.

    From the last place up, as `_shift` does: so no file goes before it has its new name.
    """
    names = [folder / best_name(place) for place in range(len(steps))]
    held = {path: _step_of(path) for path in (*names, folder / LAST)}
    for name, step in reversed(list(zip(names, steps, strict=True))):
        source = next((path for path, there in held.items() if there == step), None)
        if held[name] != step and source is not None:
            _link(source, name)
            held[name] = step


def _step_of(path: Path) -> int | None:
    """The optimizer step of a checkpoint; None when there is none that can be read."""
    try:
        return read_checkpoint(path, mapped=True).get("global_step")
    except UserError:
        return None


def _link(source: Path, target: Path) -> None:
    """Makes `target` a second name of the file `source`, in one step; a copy where the file system has no links."""
    beside = target.with_name(f".{target.name}{UNFINISHED}")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)
    # renaming one link onto another link of the same file does nothing, and leaves both
    beside.unlink(missing_ok=True)
