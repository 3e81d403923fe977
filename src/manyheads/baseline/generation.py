"""The baseline of tasks that tell tokens: how often each is a label in train, whatever is read."""

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
    """`unigram_of_labels`, and what follows from it for `num_bytes` of raw text and `num_words`, which stand for all labels
    of the split that is scored."""
    found = unigram_of_labels(train, test)
    total = found["loss"] * int(test.sum())
    return {
        **found,
        "bits_per_byte": total / math.log(2) / num_bytes,
        WordPerplexity.name: WordPerplexity().score([total], [num_words]),
    }


def unigram_of_labels(train: NDArray[np.int64], test: NDArray[np.int64]) -> Mapping[str, float]:
    """The scores, by the names of the tasks' metrics, of predicting each label by its share of train's labels.

    Counts of both splits, [V] each; one is added to each of train's, so that no token is impossible.
    """
    share = (train + 1) / (train.sum() + len(train))
    labels = int(test.sum())
    loss = float(-(test * np.log(share)).sum()) / labels
    return {"loss": loss, "perplexity": math.exp(loss), "accuracy": int(test[train.argmax()]) / labels}
