"""Guards room that is paid for and not used: how much of training batches is padding, packed and padded."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from manyheads.batch import IGNORE, Batch
from manyheads.build import CONF_DIR, build
from manyheads.data.loader import ResumableLoader
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.source import Source
from manyheads.run.compose import compose
from manyheads.task.generation import Generation
from manyheads.testing import Rows, byte_tokenizer

MOST = 0.03


def ragged(count: int = 3000) -> Source:
    """Texts of 1 to a few thousand bytes, half of them below 90: log-normal, as lengths of texts are."""
    draw = random.Random(0)
    texts = ["x" * max(1, int(draw.lognormvariate(4.5, 1.0))) for _ in range(count)]
    return Rows({"train": texts, "validation": ["a"], "test": ["a"]})


def task(**settings: Any) -> Generation:
    return Generation(source=ragged(), tokenizer=byte_tokenizer(), seed=1, **settings)


def padding(batches: Iterable[Batch]) -> float:
    """The share of all positions that hold nothing."""
    made = list(batches)
    return 1 - sum(int((batch["labels"] != IGNORE).sum()) for batch in made) / sum(b["labels"].numel() for b in made)


@pytest.mark.parametrize("batch_size", [4, 32])
@pytest.mark.parametrize("seq_len", [128, 512, 2048])
def test_at_most_three_percent_of_packed_batches_is_padding(seq_len: int, batch_size: int) -> None:
    assert padding(task(seq_len=seq_len, batch_size=batch_size).training_loader()) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("seq_len", [128, 256, 512])
def test_at_most_three_percent_of_packed_batches_of_pydocs_is_padding(seq_len: int) -> None:
    """The default data with its tokenizer and batch size."""
    cfg, _ = compose("train", [f"task.seq_len={seq_len}"], CONF_DIR)
    source = build(cfg.data, "data")
    tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
    made = build(cfg.task, "task", source=source, tokenizer=tokenizer, seed=1)
    assert padding(made.training_loader()) <= MOST


@pytest.mark.parametrize("batch_size", [4, 16, 32])
def test_padded_batches_have_rows_of_about_one_length(batch_size: int) -> None:
    """Beside the same rows in a plain permutation: about half of those is padding, and a small part of that is left."""
    sorted_ = task(seq_len=512, batch_size=batch_size, pack=False).training_loader()
    plain = ResumableLoader(sorted_.rows, ResumableBatchSampler(len(sorted_.rows), batch_size, seed=1, shuffle=True))
    at_random = padding(plain)
    assert at_random > 0.4
    assert padding(sorted_) < at_random / 5


def test_long_and_short_batches_of_an_epoch_are_mixed() -> None:
    """Guards an epoch that goes from long to short: the widths of neighbouring batches must not follow on each other, and
    each half has about the same ones."""
    loader = task(seq_len=512, batch_size=16, pack=False).training_loader()
    widths = np.array([batch["labels"].shape[1] for batch in loader], np.float64)
    assert abs(np.corrcoef(widths[1:], widths[:-1])[0, 1]) < 0.2
    first, second = np.split(widths[: len(widths) // 2 * 2], 2)
    assert first.mean() == pytest.approx(second.mean(), rel=0.3)
