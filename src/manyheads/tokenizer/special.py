"""Special tokens that a task needs: a tokenizer that has them."""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken

from manyheads.tokenizer.base import Tokenizer


def with_special(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    """A tokenizer that has these special tokens too, as its last ids; the same one when it has all of them.

    No text becomes one of them, whatever it says, and decoded text leaves them out.
    """
    if all(tokenizer.backend.token_to_id(name) is not None for name in names):
        return tokenizer
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return Tokenizer(backend, name=tokenizer.name, lossless=tokenizer.lossless, end=tokenizer.end)


def ids_of(tokenizer: Tokenizer, names: Sequence[str]) -> list[int]:
    """The ids of special tokens that it has."""
    found = [tokenizer.backend.token_to_id(name) for name in names]
    assert None not in found, f"the tokenizer has not all of {names}"
    return found  # type: ignore[return-value]
