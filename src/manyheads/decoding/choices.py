"""One of several texts, as the tokenizer cuts each into tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from manyheads.decoding.constraint import Constraint
from manyheads.errors import UserError, written
from manyheads.tokenizer.base import Tokenizer


@final
class Choices(Constraint):
    """One of several texts and then the end, each in the tokens that the tokenizer cuts it into by itself.

    Those are the tokens that a network has learned it in. Where a tokenizer's words bring their space with them, the choice
    has one in front after a prompt. Raises UserError for no choices, what is no text, and a text that does not come back
    from the tokenizer.

    Attributes:
        longest: the tokens of a choice, at most, without the end.
    """

    def __init__(self, tokenizer: Tokenizer, choices: Sequence[str]) -> None:
        self.name = check_choices(choices)
        tokens = [self._encode(tokenizer, choice) for choice in choices]
        self.longest = max(map(len, tokens))
        self._size = tokenizer.vocab_size
        self._next: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for each in tokens:
            for place, token in enumerate([*each, tokenizer.end_id]):
                self._next[tuple(each[:place])].add(token)

    def allowed(self, new: Sequence[int]) -> Tensor:
        """[V] bool: what follows in the choices that begin with `new`."""
        mask = torch.zeros(self._size, dtype=torch.bool)
        mask[list(self._next[tuple(new)])] = True
        return mask

    def _encode(self, tokenizer: Tokenizer, choice: str) -> list[int]:
        tokens = tokenizer.encode(choice)
        if tokenizer.unknown_id in tokens or tokenizer.decode(tokens) != choice:
            raise UserError(
                f"{self.name}: the tokenizer cannot write {choice!r}, only {tokenizer.decode(tokens)!r}. "
                "Leave it out, or spell it otherwise."
            )
        return tokens


def check_choices(choices: Sequence[str]) -> str:
    """The setting and its value. Raises UserError for what is no list of texts."""
    name = f"choices={written(choices)}"
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise UserError(f"{name}: set a list of at least one text.")
    for choice in choices:
        if not isinstance(choice, str) or not choice or not _is_unicode(choice):
            raise UserError(f"{name}: {choice!r} is no text of at least one character; put quotes around each.")
    return name


def _is_unicode(text: str) -> bool:
    """Whether no character is half of one, as a terminal can pass on."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
