"""Counts of n-grams as sorted rows of a few integers: packed, added up and merged without one object per n-gram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
"""[N, words] n-grams, packed; their order is that of the n-grams, token by token."""

BITS = 62
"""Of an integer that are used, so that none is negative."""


class Packing:
    """How the tokens of an n-gram go into integers.

    Args:
        order: n.
        vocab_size: V. A place holds a token + 1, and 0 where there is no token.
    """

    def __init__(self, order: int, vocab_size: int) -> None:
        self.order = order
        self.bits = vocab_size.bit_length()
        self.in_a_word = BITS // self.bits
        self.words = -(-order // self.in_a_word) if order else 1

    def pack(self, columns: Sequence[NDArray[np.int64]]) -> Keys:
        """[N, words] of `order` columns [N], the first place of the n-gram first."""
        words = []
        for start in range(0, max(self.order, 1), self.in_a_word):
            word = np.zeros(len(columns[0]) if columns else 0, np.int64)
            for place in range(start, start + self.in_a_word):
                word <<= self.bits
                if place < self.order:
                    word |= columns[place]
            words.append(word)
        return np.stack(words, 1)

    def unpack(self, keys: Keys) -> list[NDArray[np.int64]]:
        """The columns [N] that `pack` was given."""
        mask = (1 << self.bits) - 1
        columns = []
        for place in range(self.order):
            word, within = divmod(place, self.in_a_word)
            columns.append((keys[:, word] >> (self.bits * (self.in_a_word - 1 - within))) & mask)
        return columns


def added_up(keys: Keys, counts: NDArray[np.int64]) -> tuple[Keys, NDArray[np.int64]]:
    """Each n-gram once, in order, with the sum of its counts [N]."""
    if not len(keys):
        return keys, counts
    # a stable sort merges runs that are sorted already, as those of earlier calls are
    order = np.argsort(keys[:, 0], kind="stable") if keys.shape[1] == 1 else np.lexsort(keys.T[::-1])
    keys, counts = keys[order], counts[order]
    firsts = np.flatnonzero(is_new(keys))
    return keys[firsts], np.add.reduceat(counts, firsts)


def is_new(keys: Keys) -> NDArray[np.bool_]:
    """[N] whether a row of sorted n-grams is another than the one before it."""
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]).any(1)
    return new
