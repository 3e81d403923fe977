"""The baseline of generation: how often each token stands in train, whatever comes before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manyheads.baseline.base import VERSION, Scores, kept
from manyheads.data.cache import fingerprint
from manyheads.data.store import TokenStore
from manyheads.metric.perplexity import WordPerplexity
from manyheads.tokenizer.base import Tokenizer


def generators(
    train: TokenStore, test: TokenStore, tokenizer: Tokenizer, num_words: int, key: Sequence[object]
) -> Scores:
    """The scores of the baselines on the texts of `test`, which have `num_words`. `key` stands for the texts of both."""
    size = tokenizer.vocab_size

    def compute() -> Scores:
        return {"unigram": unigram(train.token_counts(size), test.token_counts(size), test.num_bytes, num_words)}

    return kept(fingerprint("unigram", VERSION, tokenizer.fingerprint, *key), compute)


def unigram(train: NDArray[np.int64], test: NDArray[np.int64], num_bytes: int, num_words: int) -> Mapping[str, float]:
    """The scores, by the names of the task's metrics, of predicting each label by its share of train's labels.

    Counts of both splits, [V] each; one is added to each of train's, so that no token is impossible. `num_bytes` of raw
    text and `num_words` stand for the labels of the split that is scored.
    """
    share = (train + 1) / (train.sum() + len(train))
    total, labels = float(-(test * np.log(share)).sum()), int(test.sum())
    return {
        "loss": total / labels,
        "perplexity": math.exp(total / labels),
        "bits_per_byte": total / math.log(2) / num_bytes,
        "accuracy": int(test[train.argmax()]) / labels,
        WordPerplexity.name: WordPerplexity().score([total], [num_words]),
    }
