"""Guards the one baseline whose scores stand beside a language model's own: by hand, and under the names of the metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from manyheads.baseline.generation import unigram
from manyheads.compatibility import scores_of
from manyheads.task.generation import Generation
from manyheads.testing import Rows, byte_tokenizer


def test_by_hand() -> None:
    """Train has token 0 three times and token 1 once, of three tokens: shares 4/7, 2/7, 1/7."""
    found = unigram(np.array([3, 1, 0]), np.array([1, 0, 1]), 5, 4)
    nats = math.log(7 / 4) + math.log(7)
    assert found == pytest.approx(
        {
            "loss": nats / 2,
            "perplexity": math.exp(nats / 2),
            "bits_per_byte": nats / math.log(2) / 5,
            "accuracy": 0.5,
            "perplexity_per_word": math.exp(nats / 4),
        }
    )


def test_every_metric_of_the_task_and_the_ends_of_texts() -> None:
    """Five labels of train: a, a, b and two ends; two of test: b and an end, for one byte of text."""
    source = Rows({"train": ["aa", "b"], "validation": ["a"], "test": ["b"]})
    task = Generation(source=source, tokenizer=byte_tokenizer(), seed=1, seq_len=8)
    found = task.baselines("test")["unigram"]
    assert set(found) == {metric.name for metric in scores_of(Generation)}
    assert found["bits_per_byte"] == pytest.approx(-math.log2(2 / 262) - math.log2(3 / 262))
    assert found["accuracy"] == 0.0  # "a" is as frequent as the end, and the first of the two
