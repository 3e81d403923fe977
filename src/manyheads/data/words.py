"""Word n-grams of texts as numbers, for finding texts that overlap."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai, Japanese kana, Chinese: each sign a word
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_MOST_KNOWN = 1_000_000  # words whose hashes are remembered
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplying loses nothing


def words(text: str) -> list[str]:
    """The words of a text without regard to case, punctuation and white space; in scripts without spaces, the signs.

    Source of what is disregarded: Brown et al. 2020 (GPT-3), appendix C.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def mix(values: Hashes) -> Hashes:
    """Spreads numbers over 64 bits, one to one. Source: the finalizer of SplitMix64 (Steele et al. 2014, figure 16)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@final
class WordHashes:
    """Hashes of words and of their n-grams, the same in every process. Of two different n-grams in a billion, equal
    hashes have a chance of 0.03."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, text: str) -> Hashes:
        """[W] the hash of each word of a text."""
        found = words(text)
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        known = self._known
        for word in found:
            if word not in known:
                known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return np.fromiter((known[word] for word in found), np.uint64, len(found))


def ngrams(hashes: Hashes, n: int) -> Hashes:
    """[max(0, W - n + 1)] the hash of each run of n words, given the hashes [W] of words."""
    count = max(0, len(hashes) - n + 1)
    total = np.zeros(count, np.uint64)
    for place in range(n):
        total = total * _FACTOR + hashes[place : place + count]
    return mix(total)
