"""Which tokens a text may go on with."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from manyheads.decoding.sampling import NEVER
from manyheads.errors import UserError, check_count


class Constraint(abc.ABC):
    """Says which tokens may come next, by the new tokens of a text alone; its prompt does not matter."""

    name: str  # the setting and its value, for a message

    @abc.abstractmethod
    def allowed(self, new: Sequence[int]) -> Tensor:
        """[V] bool on the CPU: the tokens that may follow `new`, the end token where the text may end.

        All are False where no token goes on. `new` holds tokens that were allowed.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Rules:
    """All that keeps tokens out, whatever their scores. Raises UserError for a `no_repeat_ngram` out of range."""

    allowed: Constraint | None = None
    no_repeat_ngram: int = 0  # so many tokens in a row do not appear twice; 0: they may

    def __post_init__(self) -> None:
        check_count("no_repeat_ngram", self.no_repeat_ngram, 0)

    def apply(self, scores: Tensor, prompts: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> Tensor:
        """Scores [B, V] with -inf for what may not follow each row's prompt and new tokens."""
        if self.allowed is not None:
            masks = torch.stack([self.allowed.allowed(tokens) for tokens in new])
            scores = scores.masked_fill(~masks.to(scores.device), NEVER)
        if self.no_repeat_ngram:
            pairs = enumerate(zip(prompts, new, strict=True))
            banned = [(row, token) for row, (a, b) in pairs for token in repeating([*a, *b], self.no_repeat_ngram)]
            places = torch.tensor(banned, dtype=torch.long, device=scores.device).view(-1, 2)
            scores = scores.index_put((places[:, 0], places[:, 1]), scores.new_tensor(NEVER))
        return scores

    def check(self, scores: Tensor, new: Sequence[Sequence[int]]) -> None:
        """Raises UserError where a row of what `apply` gave has no token left."""
        if self != FREE and bool((stuck := (scores == NEVER).all(-1)).any()):
            raise self.dead_end(len(new[int(stuck.int().argmax())]))

    def dead_end(self, count: int) -> UserError:
        """What a user is told of a text that cannot go on after `count` tokens."""
        names = [self.allowed.name] if self.allowed is not None else []
        names += [f"no_repeat_ngram={self.no_repeat_ngram}"] if self.no_repeat_ngram else []
        return UserError(
            f"{' with '.join(names)}: after {count} tokens of a text, no token of the tokenizer may follow. Set a wider one."
        )


FREE = Rules()
"""Every token may come."""


def repeating(text: Sequence[int], n: int) -> set[int]:
    """The tokens that would make the last n tokens of `text` and them a sequence that it holds already.

    As transformers' NoRepeatNGramLogitsProcessor (Paulus et al. 2017, arXiv 1705.04304, section 2.5, has n = 3).
    """
    if len(text) < n:
        return set()
    text = list(text)
    last = text[len(text) - n + 1 :]
    return {text[end] for end in range(n - 1, len(text)) if text[end - n + 1 : end] == last}
