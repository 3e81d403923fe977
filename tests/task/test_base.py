"""A resume in mid-epoch under Lightning's own fit loop: what comes next is what would have come next, exactly."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from manyheads.data.source import Source
from manyheads.task.generation import Generation
from manyheads.tokenizer.byte import byte

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec."),
]
LIMITS = ({"max_steps": 8, "max_epochs": -1}, {"max_epochs": 3})
EVERY = 4  # validations, in optimizer steps: not a divisor of the epoch's five batches


ROWS = 18


def task(source: Source, batch_size: int = 4, num_workers: int = 0) -> Generation:
    """18 texts of one letter each, one to a row, so that a batch tells which rows are in it."""
    settings = {"batch_size": batch_size, "num_workers": num_workers, "eval_batch_size": 9, "pack": False}
    return Generation(source=source, tokenizer=byte(source=source), seed=3, **settings)


def rows_in(batch: Any) -> list[int]:
    return (batch["input_ids"][:, 1] - 65).tolist()


class Recorder(pl.LightningModule):
    """Keeps the rows that it was trained on, batch by batch; its weight depends on all of them and on their order."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append(rows_in(batch))
        return (self.weight - batch["input_ids"][:, 1].float().mean()) ** 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated += rows_in(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Save(pl.Callback):
    """Keeps a checkpoint's bytes for each optimizer step, at the batch's end or at a validation's end."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.files: dict[tuple[str, int], bytes] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._save(trainer, "batch")
        if trainer.global_step == self.stop_at:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._save(trainer, "validation")

    def _save(self, trainer: pl.Trainer, where: str) -> None:
        if not trainer.fit_loop._should_accumulate():
            file = io.BytesIO()
            torch.save(trainer._checkpoint_connector.dump_checkpoint(weights_only=False), file)
            self.files[where, trainer.global_step] = file.getvalue()


Fit = Callable[..., Recorder]


@pytest.fixture
def fit(tmp_path: Path, texts: Callable[..., Source]) -> Fit:
    def run(
        limit: dict[str, int],
        accumulate: int,
        every: int,
        resume: bytes | None = None,
        save: Save | None = None,
        **data: int,
    ) -> Recorder:
        if resume is not None:
            (tmp_path / "last.ckpt").write_bytes(resume)
        module = Recorder()
        trainer = pl.Trainer(
            **limit,
            accelerator="cpu",
            accumulate_grad_batches=accumulate,
            val_check_interval=every * accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[save] if save else [],
            default_root_dir=tmp_path,
        )
        trainer.fit(
            module,
            datamodule=task(texts([chr(65 + i) for i in range(ROWS)]), **data),
            ckpt_path=tmp_path / "last.ckpt" if resume is not None else None,
            weights_only=True,
        )
        return module

    return run


@pytest.mark.parametrize("limit", LIMITS, ids=["steps", "epochs"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("every", [4, 7])
def test_resume_at_any_step(fit: Fit, limit: dict[str, int], accumulate: int, every: int):
    """Guards: a batch seen twice or not at all, an epoch cut short or begun anew, for a checkpoint at every step, also at
    an epoch's end, at a batch's and at a validation's end, with validations further apart than an epoch has batches."""
    save = Save()
    whole = fit(limit, accumulate, every, save=save)
    assert sorted(itertools.chain(*whole.seen[:5])) == list(range(ROWS))
    assert whole.seen[:5] != whole.seen[5:10]
    assert whole.validated == list(range(ROWS)) * (len(whole.validated) // ROWS)
    resumed = 0
    for file in save.files.values():
        part = fit(limit, accumulate, every, resume=file)
        resumed += len(part.seen)
        assert part.seen == whole.seen[len(whole.seen) - len(part.seen) :]
        assert part.weight.item() == whole.weight.item()
    # no run came out empty but those from the last step on: each batch comes back in the resumes from the steps before
    steps = sorted({step for _, step in save.files})
    assert steps == list(range(1, len(steps) + 1))
    assert resumed > len(whole.seen) * len(save.files) / 3


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop_at", [1, 3, 5, 6, 7])
def test_resume_after_a_run_that_ended_early(fit: Fit, accumulate: int, stop_at: int):
    """Guards: a longer budget for a run that had ended (after a last validation) which then skips rows, or an epoch."""
    for limit in LIMITS:
        save = Save(stop_at)
        first = fit(limit, accumulate, 7, save=save)
        whole = fit(limit, accumulate, 7)
        second = fit(limit, accumulate, 7, resume=save.files["validation", stop_at])
        assert first.seen + second.seen == whole.seen
        assert second.weight.item() == whole.weight.item()


def test_resume_with_workers_that_have_fetched_ahead(fit: Fit):
    """Guards: what workers have fetched taken for what was trained on, and workers that start on the wrong epoch."""
    limit = LIMITS[0]
    whole = fit(limit, 1, EVERY)
    save = Save()
    assert fit(limit, 1, EVERY, save=save, num_workers=1).seen == whole.seen
    for place in (("batch", 3), ("batch", 5), ("validation", 8)):
        part = fit(limit, 1, EVERY, resume=save.files[place], num_workers=1)
        assert part.seen == whole.seen[place[1] :]


@pytest.mark.parametrize("batch_size", [2, 3, 6, 9, 18])
def test_resume_with_another_batch_size(fit: Fit, batch_size: int):
    """Guards: rows lost or seen twice in the epoch that goes on, and later epochs cut to the old number of batches."""
    save = Save()
    whole = fit({"max_epochs": 3}, 1, 5, save=save)
    for place in (("batch", 1), ("batch", 4), ("validation", 5), ("batch", 7)):
        part = fit({"max_epochs": 3}, 1, 5, resume=save.files[place], batch_size=batch_size)
        rows = list(itertools.chain(*whole.seen[: place[1]], *part.seen))
        epochs = [sorted(rows[i : i + 18]) for i in range(0, len(rows), 18)]
        assert epochs == [list(range(ROWS))] * 3
