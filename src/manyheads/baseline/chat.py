"""The bigram that a chat has to beat: each token of a reply by the one before it."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

STRENGTH, ADDED = 20.0, 1.0
"""The best of a grid on the validation split of a few hundred dialogues in English."""


def bigram(
    train: Iterable[Sequence[int]],
    test: Iterable[Sequence[int]],
    *,
    vocab_size: int,
    num_bytes: int,
    strength: float = STRENGTH,
    added: float = ADDED,
) -> float:
    """Bits per byte of the test replies by an interpolated bigram of the train replies.

    P(t | s) = (count(s, t) + strength P(t)) / (count(s) + strength), where P(t) = (count(t) + added) / (count + added V).

    Args:
        train, test: replies as tokens, the end of the turn included; the first of each is only the token before it (the
            assistant's marker) and is not scored.
        vocab_size: V.
        num_bytes: of the contents of the test replies, in UTF-8.
        strength: how many observations P(t) is worth.
        added: to the count of each token.

    Source: MacKay and Peto, "A hierarchical Dirichlet language model", 1995, whose prior's mean is taken as the
    add-k estimate of the tokens.
    """
    pairs: Counter[tuple[int, int]] = Counter()
    before: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    for reply in train:
        pairs.update(itertools.pairwise(reply))
        before.update(reply[:-1])
        tokens.update(reply[1:])
    total = tokens.total() + added * vocab_size

    def cost(first: int, token: int) -> float:
        prior = (tokens[token] + added) / total
        return -math.log2((pairs[first, token] + strength * prior) / (before[first] + strength))

    return sum(cost(*pair) for reply in test for pair in itertools.pairwise(reply)) / num_bytes
