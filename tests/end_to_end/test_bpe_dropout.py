"""Guards a run whose words are cut by chance: stopped in mid-epoch it goes on with the cuts of the run that was never stopped."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = [
    "task=translation", "task.bpe_dropout=0.3", "tokenizer.vocab_size=400", "task.batch_size=64", "task.num_beams=1",
    "task.max_target_tokens=12", "model.dim=16", "model.num_layers=1", "model.num_encoder_layers=1", "model.num_heads=2",
    "optim=adamw", "++optim.warmup_steps=0", "++optim.schedule=constant", "trainer.log_every_n_steps=1",
    "trainer.val_every_n_steps=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "logger=csv",
    "++callbacks.samples=0",
]  # fmt: skip


def losses(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


def test_a_stopped_run_goes_on_with_the_same_cuts(cli: Callable[..., Any]) -> None:
    def trained(*words: str) -> Path:
        done = cli("train", *WORDS, *words)
        assert done.code == 0, done.err
        return done.folder

    whole = losses(trained("trainer.max_steps=4"))
    assert len(whole) == 4
    half = trained("trainer.max_steps=2")
    assert losses(half) == whole[:2]
    done = cli("train", f"resume={half}", "trainer.max_steps=4")
    assert done.code == 0, done.err
    assert losses(half) == whole
    assert losses(trained("task.bpe_dropout=0", "trainer.max_steps=2"))[0] != whole[0]
