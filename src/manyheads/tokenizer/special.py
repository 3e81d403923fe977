"""Special tokens that a task needs: a tokenizer that has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import AddedToken

from manyheads.tokenizer.base import Tokenizer

MASK = "<|mask|>"
"""The token that hides others."""


def with_special(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    """A tokenizer that has these special tokens too, as its last ids; the same one when it has all of them.

    No text becomes one of them, whatever it says, and decoded text leaves them out.
    """
    if {tokenizer.backend.token_to_id(name) for name in names} <= {*special_ids(tokenizer)}:
        return tokenizer
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    settings = {name: getattr(tokenizer, name) for name in ("name", "lossless", "end", "chat_template")}
    return Tokenizer(backend, **settings)


def ids_of(tokenizer: Tokenizer, names: Sequence[str]) -> list[int]:
    """The ids of special tokens that it has."""
    found = [tokenizer.backend.token_to_id(name) for name in names]
    assert None not in found, f"the tokenizer has not all of {names}"
    return found  # type: ignore[return-value]


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """The ids of all special tokens."""
    return [token for token, added in tokenizer.backend.get_added_tokens_decoder().items() if added.special]


def ordinary_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """The ids that text is made of: no special token, and not the unknown one."""
    return np.array(sorted({*tokenizer.backend.get_vocab().values()} - {*special_ids(tokenizer), tokenizer.unknown_id}))
