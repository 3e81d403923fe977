"""Words as tokens: which token a word is, and which word a token."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.special import ordinary_ids


@final
class Words:
    """The words that a tokenizer has a token for.

    Attributes:
        known: [M] the tokens that text is made of: all but special ones and the unknown one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.known: NDArray[np.int64] = ordinary_ids(tokenizer)
        self._known = frozenset(self.known.tolist())

    def id_of(self, word: str) -> int | None:
        """The token of a word; None where it has none, or several. With a space before it where that is one token."""
        for written in (f" {word}", word):
            ids = self.tokenizer.encode(written)
            if len(ids) == 1 and ids[0] in self._known:
                return ids[0]
        return None

    def ids_of(self, text: str) -> list[int]:
        """The known tokens of a text, in order; of a word that is one token, that one."""
        word = self.id_of(text.strip())
        return [token for token in self.tokenizer.encode(text) if token in self._known] if word is None else [word]

    def text(self, token: int) -> str:
        """What a token writes, without the white space around it; of one that writes none, its name."""
        written = self.tokenizer.decode([token]).strip()
        return written or str(self.tokenizer.backend.id_to_token(token))
