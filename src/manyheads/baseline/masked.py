"""The baseline of masking that reads: each hidden token by the one before it, as it stands there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

STRENGTH = 20.0
"""How many observations the share of a token alone is worth; that of the bigram of replies."""

Ints = NDArray[np.int64]


def bigram(
    train: tuple[Ints, Ints], test: tuple[Ints, Ints], vocab_size: int, strength: float = STRENGTH
) -> Mapping[str, float]:
    """The scores, by the names of the task's metrics, of P(t | s) = (count(s, t) + strength P(t)) / (count(s) + strength).

    P(t) = (count(t) + 1) / (count + V), and counts are of train. Before a token that train has nothing behind, such as the
    mask, P(t) is all that is known.

    Args:
        train: [N] tokens, and the [N] tokens behind them.
        test: [M] tokens as they are read, and the [M] hidden ones behind them.
        vocab_size: V.

    Source: MacKay and Peto, "A hierarchical Dirichlet language model", 1995, as for the bigram of replies.
    """
    before, tokens = train
    counts = np.bincount(tokens, minlength=vocab_size)
    prior = (counts + 1) / (counts.sum() + vocab_size)
    pairs, numbers = np.unique(before * vocab_size + tokens, return_counts=True)
    read, hidden = test
    shares = _counted(pairs, numbers, read * vocab_size + hidden) + strength * prior[hidden]
    shares /= np.bincount(before, minlength=vocab_size)[read] + strength
    likeliest = np.full(vocab_size, prior.argmax())
    first, second = np.divmod(pairs, vocab_size)
    worth = numbers + strength * prior[second]
    order = np.lexsort((-worth, first))
    tops = order[np.unique(first[order], return_index=True)[1]]
    tops = tops[worth[tops] > strength * prior.max()]
    likeliest[first[tops]] = second[tops]
    return {"loss": float(-np.log(shares).mean()), "accuracy": float((likeliest[read] == hidden).mean())}


def _counted(pairs: Ints, numbers: Ints, asked: Ints) -> NDArray[np.float64]:
    """[M] how often each that is asked for is among sorted `pairs`."""
    if not len(pairs):
        return np.zeros(len(asked))
    place = np.searchsorted(pairs, asked).clip(max=len(pairs) - 1)
    return np.where(pairs[place] == asked, numbers[place], 0).astype(np.float64)
