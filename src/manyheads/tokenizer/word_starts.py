"""Which tokens begin a word, found by what they write."""

from __future__ import annotations

import re
from typing import final

import numpy as np
from numpy.typing import NDArray

from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.pieces import first_and_later

_OF_WORD = re.compile(rb"[\w\x80-\xff]")


@final
class WordStarts:
    """A token goes on with a word when the byte that it begins with and the byte before it are both of a word; every other
    token begins one. Of a word are ASCII letters, digits, the underscore and all bytes of other characters.

    So a word is a run of letters and digits, with the space before it where the tokenizer writes that in one token; each
    token of punctuation, white space alone, unknown and special tokens are words by themselves. What a token writes is what
    it decodes to behind another one, so the rule is the same for bytes, characters, BPE, WordPiece (## goes on with a word)
    and unigram pieces. A script that has no spaces makes one long word.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        _, later = first_and_later(tokenizer)
        self._first = np.array([bool(_OF_WORD.match(text[:1])) for text in later])  # [V]
        self._last = np.array([bool(_OF_WORD.match(text[-1:])) for text in later])  # [V]

    def __call__(self, ids: NDArray[np.int64], segments: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """[B, T] whether each of the tokens [B, T] begins a word; the first one of a segment does."""
        begins = np.ones(ids.shape, bool)
        begins[:, 1:] = ~(self._last[ids[:, :-1]] & self._first[ids[:, 1:]])
        if segments is not None:
            begins[:, 1:] |= segments[:, 1:] != segments[:, :-1]
        return begins
