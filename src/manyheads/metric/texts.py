"""What the scores of texts share: the references of an example, the words of a text, and a mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TypedDict

from manyheads.errors import UserError


class Sourced(TypedDict):
    """The target of a text that was made from another one, for the scores that look at it too."""

    references: Sequence[str]
    source: str  # the document that was summarized, or the sentence that was translated


Target = Sequence[str] | Sourced
"""One reference text or more; a Sourced where the source is known. Every score of texts takes both."""


def references(targets: Sequence[Target]) -> list[list[str]]:
    """The references of each example, in their order; an empty text is one. Raises UserError where there is none."""
    found = [list(listed(target)) for target in targets]
    if not all(found):
        raise UserError(
            f"example {found.index([])} of the split has no reference text to be scored against.\n"
            "Give each row at least one, or leave the row out."
        )
    return found


def listed(target: Target) -> Sequence[str]:
    """The references of one example, of which there may be none."""
    texts = target["references"] if isinstance(target, dict) else target
    assert not isinstance(texts, str), f"a list of references, not one text: {texts!r}"
    return texts


def words(text: str) -> list[str]:
    """Words and punctuation marks, as sacrebleu's tokenizer `zh` has them.

    Chinese characters stand alone, and all else is split as mteval-v13a, the tokenizer of WMT, splits it.
    """
    return _zh()(text).split()


@cache
def _zh() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    return TokenizerZh()


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n tokens, in their order; none of a shorter text."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def mean(values: Iterable[float]) -> float:
    """Of those that are not nan; nan when there is none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
