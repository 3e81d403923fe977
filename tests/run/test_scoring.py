"""Guards: a last table that scores other weights than the best, and a reader of half a file of predictions."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from manyheads.callbacks.checkpoint_io import write_checkpoint
from manyheads.callbacks.interrupt import Interrupt
from manyheads.errors import UserError
from manyheads.lm import LM
from manyheads.run.folder import RunFolder
from manyheads.run.scoring import has_baselines, log_pages, score, write_pages, write_predictions
from manyheads.task.generation import Generation
from manyheads.testing import Rows, byte_tokenizer, tiny_checkpoint, tiny_network, uniform
from manyheads.trainer import trainer

TEXTS = {"train": ["abc"], "validation": ["hello", "you"], "test": ["one text", "é", "a"]}


@pytest.fixture
def task() -> Generation:
    return Generation(source=Rows(TEXTS), tokenizer=byte_tokenizer(), seed=1, seq_len=8, batch_size=2)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    return lambda *callbacks: trainer(
        folder=tmp_path, accelerator="cpu", devices=1, max_steps=1, callbacks=list(callbacks)
    )


def lm(task: Generation, *, seed: int = 0) -> LM:
    network, head = tiny_network(byte_tokenizer().vocab_size, seed=seed)
    return LM(network=network, head=head, metrics=task.metrics)


def checkpoint(folder: Path, seed: int) -> Path:
    path = folder / f"{seed}.ckpt"
    write_checkpoint(tiny_checkpoint(seed), path)
    return path


def test_the_weights_of_the_checkpoint_are_scored_whatever_the_module_holds(
    task: Generation, make_trainer: Any, tmp_path: Path
) -> None:
    """The last weights of a training are seldom the best."""
    path = checkpoint(tmp_path, seed=5)
    scores = score(make_trainer(), lm(task, seed=1), task, path)
    assert scores == score(make_trainer(), lm(task, seed=5), task, path)
    assert scores != score(make_trainer(), lm(task, seed=1), task, checkpoint(tmp_path, seed=1))


def test_scores_of_equally_likely_tokens(task: Generation, make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every label costs ln V; the ends of the texts are labels: 10 of 8 bytes, and 14 of 11 bytes. 2 words, and 4."""
    monkeypatch.setattr("manyheads.run.scoring.read_checkpoint", lambda path: {"state_dict": {}})
    network, head = uniform(byte_tokenizer().vocab_size)
    module = LM(network=network, head=head, metrics=task.metrics)
    scores = score(make_trainer(), module, task, Path("any"))
    bits = math.log2(257)
    assert scores == pytest.approx(
        {
            "val/loss": math.log(257),
            "val/perplexity": 257.0,
            "val/bits_per_byte": bits * 10 / 8,
            "val/accuracy": 0.0,
            "val/perplexity_per_word": 257.0 ** (10 / 2),
            "test/loss": math.log(257),
            "test/perplexity": 257.0,
            "test/bits_per_byte": bits * 14 / 11,
            "test/accuracy": 0.0,
            "test/perplexity_per_word": 257.0 ** (14 / 4),
        },
        rel=1e-6,
    )


def test_one_stage_alone(task: Generation, make_trainer: Any, tmp_path: Path) -> None:
    scores = score(make_trainer(), lm(task), task, checkpoint(tmp_path, 0), ["test"])
    assert {name.partition("/")[0] for name in scores} == {"test"}


def test_callbacks_and_loggers_of_the_training_are_left_out(
    task: Generation, make_trainer: Any, tmp_path: Path
) -> None:
    """They would log a step that never was; a signal must still be heard."""

    class Loud(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pytest.fail("a callback of the training ran")

    heard = Interrupt(checkpoint=None, resume="")  # type: ignore[arg-type]
    made = make_trainer(Loud(), heard)
    score(made, lm(task), task, checkpoint(tmp_path, 0), ["val"])
    assert made.callbacks == [heard]


def test_a_checkpoint_of_another_network_is_named(task: Generation, make_trainer: Any, tmp_path: Path) -> None:
    network, head = tiny_network(byte_tokenizer().vocab_size, dim=32)
    module = LM(network=network, head=head, metrics=task.metrics)
    with pytest.raises(UserError, match=r"is \[257, 16\] there and \[257, 32\] here"):
        score(make_trainer(), module, task, checkpoint(tmp_path, 0))


def test_predictions_are_a_line_for_each_text_and_add_up(task: Generation, make_trainer: Any, tmp_path: Path) -> None:
    module = lm(task)
    scores = score(make_trainer(), module, task, checkpoint(tmp_path, 0))
    path = tmp_path / "predictions" / "test.jsonl"
    write_predictions(path, task, module)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["id"], row["tokens"], row["bytes"]) for row in rows] == [(0, 9, 8), (1, 3, 2), (2, 2, 1)]
    assert sum(row["loss"] for row in rows) / 14 == pytest.approx(scores["test/loss"], rel=1e-6)
    assert os.listdir(path.parent) == ["test.jsonl"]


def test_a_failure_leaves_the_old_predictions(
    task: Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text("old")

    def fail(*_: object) -> Any:
        yield {"id": 0}
        raise KeyboardInterrupt

    monkeypatch.setattr(Generation, "predictions", fail)
    with pytest.raises(KeyboardInterrupt):
        write_predictions(path, task, lm(task))
    assert path.read_text() == "old"
    assert torch.is_grad_enabled()


def test_pages_stand_beside_the_predictions_and_go_to_loggers_that_take_them(
    task: Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Takes:
        taken: ClassVar[list[tuple[str, str, int | None]]] = []

        def log_page(self, key: str, path: Path, step: int | None = None) -> None:
            self.taken.append((key, path.read_text(), step))

    (tmp_path / "predictions").mkdir()
    monkeypatch.setattr(Generation, "pages", lambda self, scored: {"one": lambda path: path.write_text("<html>")})
    pages = write_pages(RunFolder(tmp_path), task, lm(task))
    assert pages == {"one": tmp_path / "predictions" / "one.html"}
    log_pages([Takes(), object()], pages, 7)  # type: ignore[list-item]
    assert Takes.taken == [("test/one", "<html>", 7)]


@pytest.mark.parametrize(
    ("words", "there"),
    [
        ({}, True),
        ({"trainer": {"limit_test_batches": None}}, True),
        ({"trainer": {"limit_test_batches": 1.0}}, True),
        ({"trainer": {"limit_test_batches": 1}}, False),
        ({"trainer": {"limit_test_batches": 0.5}}, False),
        ({"baselines": False}, False),
    ],
)
def test_baselines_stand_beside_the_scores_of_all_of_test_alone(words: dict[str, Any], there: bool) -> None:
    """Guards a rule's score of a whole split beside a model's of its first batch."""
    assert has_baselines(OmegaConf.create(words)) is there
