"""When checkpoints are saved, under which names, and which of them stay."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from manyheads.callbacks.step import is_fitting, step_is_done

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

    def save(self, trainer: pl.Trainer) -> None:
        """Saves `last.ckpt` unless it already holds this step. To be called by all ranks, with no gradients pending."""
        if self.last_step != trainer.global_step:
            self._write(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._deferred = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not step_is_done(trainer):
            return
        every = self.save_every_n_steps
        if every is not None and trainer.global_step % every == 0:
            self._write(trainer)
            if trainer.is_global_zero:
                _link(self.last_path, self.folder / f"step_{trainer.global_step:08d}.ckpt")
                self._prune()
            trainer.strategy.barrier()
        elif self._deferred:
            self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not is_fitting(trainer) or trainer.sanity_checking:
            return
        place = self._enter(float(trainer.callback_metrics[self.monitor]), trainer.global_step)
        if place is not None or step_is_done(trainer):
            self._write(trainer)
        if place is not None:
            if trainer.is_global_zero:
                self._shift(place)
            trainer.strategy.barrier()
        # a checkpoint in the middle of an accumulation would lose gradients on resume: write last again at the step's end
        self._deferred = not step_is_done(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)
        if trainer.is_global_zero and not self.scores:
            _link(self.last_path, self.best_path)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        """The scores and steps of the best checkpoints, best first."""
        return {"monitor": self.monitor, "scores": list(self.scores), "steps": list(self.steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the best list again, as far as its files are in the folder and were ranked by the same metric."""
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


def _link(source: Path, target: Path) -> None:
    """Makes `target` a second name of the file `source`, in one step; a copy where the file system has no links."""
    beside = target.with_name(f".{target.name}.writing")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)
    # renaming one link onto another link of the same file does nothing, and leaves both
    beside.unlink(missing_ok=True)
