"""Perplexity by hand, over batches of unequal size."""

import math

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.base import HeadOutput
from manyheads.metric.perplexity import Perplexity, WordPerplexity


def add(metric: Perplexity, loss_sum: float, count: int, num_bytes: list[int]) -> None:
    batch = Batch(input_ids=torch.zeros(len(num_bytes), 1, dtype=torch.long), num_bytes=torch.tensor(num_bytes))
    metric.update(HeadOutput(torch.tensor(loss_sum), torch.tensor(count)), batch)


def test_is_of_the_whole_split_not_a_mean_over_batches() -> None:
    """Guards against a perplexity that moves with the batch size: 8 labels over 2 and 4 tokens are 2**(10/8)."""
    metric = Perplexity()
    add(metric, 6 * math.log(2), 6, [9])
    add(metric, 2 * math.log(4), 2, [2])
    assert metric.compute().item() == pytest.approx(2 ** (10 / 8), rel=1e-7)


def test_a_uniform_guess_over_the_vocabulary_has_the_perplexity_of_its_size() -> None:
    """Guards against bits taken for nats."""
    metric = Perplexity()
    add(metric, 7 * math.log(257), 7, [7])
    assert metric.compute().item() == pytest.approx(257, rel=1e-6)


def test_per_word_over_the_whole_split() -> None:
    """Guards a mean over texts: 6 nats and 3 nats over 2 and 1 words are e**3 a word, 0 and 6 over 1 and 2 are e**2."""
    assert WordPerplexity().score([6.0, 3.0], [2, 1]) == pytest.approx(math.exp(3))
    assert WordPerplexity().score([0.0, 6.0], [1, 2]) == pytest.approx(math.exp(2))


def test_per_word_of_no_word_and_of_a_text_that_is_one_long_word() -> None:
    assert math.isnan(WordPerplexity().score([1.0], [0]))
    assert WordPerplexity().score([5000.0], [1]) == math.inf
