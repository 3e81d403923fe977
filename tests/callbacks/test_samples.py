from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.samples import Samples, printable, sample_lines, scores_of_best
from manyheads.decoding.sampling import sampling
from manyheads.task.base import Shown
from manyheads.testing import byte_tokenizer


class Successor(nn.Module):
    """A network that passes its token ids on, and a head that is all but sure of the id after."""

    max_positions = None

    def new_cache(self, batch_size: int, max_len: int) -> None:
        return None

    def forward(self, batch: Batch, cache: None = None) -> Tensor:
        return batch["input_ids"][..., None].float()

    def logits(self, hidden: Tensor) -> Tensor:
        return nn.functional.one_hot(hidden[..., 0].long() + 1, 256).float() * 6


class Codes:
    """Characters as their own ids."""

    end_id = 255

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[ord(c) for c in text] for text in texts]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


@pytest.fixture
def make(tiny: Any) -> Callable[..., tuple[Any, Samples, io.StringIO]]:
    class Writing(tiny):
        def __init__(self) -> None:
            super().__init__()
            self.trained, self.network, self.head = self.network, Successor(), Successor()

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.draws.append(float(torch.rand(())))
            return self.trained(batch).sum()

    def made(temperature: float) -> tuple[Any, Samples, io.StringIO]:
        lm, file = Writing(), io.StringIO()
        shown = Samples(
            console=Console(file=file, width=40),
            tokenizer=Codes(),  # type: ignore[arg-type]
            prompts=lambda: [Shown(text, byte_tokenizer().encode(text)) for text in ("abc", "x")],
            max_new_tokens=4,
            sampling=sampling(temperature=temperature),
            seed=3,
        )
        return lm, shown, file

    return made


def test_each_validation_continues_the_same_prompts(fit: Any, make: Any) -> None:
    lm, shown, file = make(0.0)
    fit(lm, [shown], max_steps=4, val_check_interval=2)
    said = "    │ abcdefg\n    │ xyz{|\n    distinct 1 1.0000  distinct 2 0.5000\n"
    assert file.getvalue() == said * 2
    assert lm.network.training


def test_each_task_of_a_mixture_writes_with_its_own_head(fit: Any, make: Any) -> None:
    class Predecessor(Successor):
        def logits(self, hidden: Tensor) -> Tensor:
            return nn.functional.one_hot(hidden[..., 0].long() - 1, 256).float() * 6

    heads = {"up": Successor(), "down": Predecessor()}
    lm, shown, file = make(0.0)
    shown.prompts = lambda: [Shown(text, [*text.encode()], member=name) for name in heads for text in ("mn", "x")]
    lm.head = nn.ModuleDict(heads)
    lm.head.of = lambda member: heads[member]
    fit(lm, [shown], max_steps=1, val_check_interval=1)
    assert file.getvalue().splitlines()[:4] == [
        f"    │ {line}" for line in ("up: mnopqr", "up: xyz{|", "down: mnmlkj", "down: xwvut")
    ]


def test_the_draws_of_training_do_not_change(fit: Any, make: Any) -> None:
    # guards: samples drawn from the global generator, which would make a run depend on how often it shows a text
    def run(callbacks: bool) -> list[float]:
        lm, shown, _ = make(1.0)
        torch.manual_seed(1)
        fit(lm, [shown] if callbacks else [], max_steps=6, val_check_interval=2)
        return lm.draws

    assert run(True) == run(False)


def test_the_same_seed_gives_the_same_texts(fit: Any, make: Any) -> None:
    lm, shown, file = make(1.0)
    fit(lm, [shown], max_steps=4, val_check_interval=2)
    first, second = file.getvalue()[: len(file.getvalue()) // 2], file.getvalue()[len(file.getvalue()) // 2 :]
    assert first == second
    assert not first.startswith("    │ abcdefg\n    │ xyz{|\n")


def test_wandb_gets_the_texts(fit: Any, make: Any, rows: Any) -> None:
    given: list[Any] = []

    class Fake(WandbLogger):
        def __init__(self) -> None:
            pass

        def log_text(self, key: str, **options: Any) -> None:  # type: ignore[override]
            given.append((key, options))

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
            given.append((step, metrics))

        def save(self) -> None:
            pass

    lm, shown, _ = make(0.0)
    trainer = fit(lm, [], max_steps=1, limit_val_batches=0)
    trainer._loggers = [Fake()]
    shown.on_validation_end(trainer, lm)
    table = [[1, "abc", "defg"], [1, "x", "yz{|"]]
    scores = {"val/sample_distinct_1": 1.0, "val/sample_distinct_2": 0.5}
    assert given == [(1, scores), ("samples", {"columns": ["step", "prompt", "text"], "data": table, "step": 1})]


def test_the_scores_are_those_of_the_texts_of_the_best_weights(make: Any, tmp_path: Path) -> None:
    """Guards those of the last validation; a resumed run has them from its checkpoint."""
    best = RunCheckpoint(folder=tmp_path, monitor="val/loss", higher_is_better=False)
    best.scores, best.steps = [0.5], [2]
    _, shown, _ = make(0.0)
    shown.load_state_dict({"scores": {2: {"distinct_1": 0.75}, 4: {"distinct_1": 0.25}}})
    assert scores_of_best([shown, best]) == {"distinct_1": 0.75}
    assert shown.state_dict() == {"scores": {2: {"distinct_1": 0.75}, 4: {"distinct_1": 0.25}}}
    best.steps = []
    assert scores_of_best([shown, best]) == scores_of_best([best]) == {}


def test_a_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x00\r\tc\u202e\n é") == "a?[31mb??    c?\n é"
    assert printable("a│é", "latin-1") == "a?é"


def test_long_texts_are_wrapped_and_cut() -> None:
    lines = [line.plain for line in sample_lines("one two\n\n\n\n", "three four five sixsixsixsixsix\n" * 9, 19)]
    assert lines[:6] == ["    │ one two", "    │", "    │ three four", "    │ five", "    │ sixsixsixsix", "    │ six"]
    assert (len(lines), lines[-1]) == (10, "    │ ...")
