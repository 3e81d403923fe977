"""What a tokenizer loses of the texts it reads: which do not come back, and how many tokens are unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyheads.tokenizer.base import Tokenizer

SHOWN = 40
"""Characters of an example, at most."""


@dataclass
class RoundTrip:
    """Counts over the texts of a split. Of a lossless tokenizer nothing is counted: every text comes back."""

    texts: int = 0  # not empty
    changed: int = 0  # of them, that decode to something else
    tokens: int = 0
    unknown: int = 0  # of them, that stand for what the vocabulary cannot spell
    before: str = ""  # where the first change is: the text, and what it became
    after: str = ""

    def add(self, tokenizer: Tokenizer, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
        """Counts some texts, given their tokens."""
        if tokenizer.lossless:
            return
        self.texts += len(texts)
        self.tokens += sum(map(len, ids))
        if tokenizer.unknown_id is not None:
            self.unknown += sum(one.count(tokenizer.unknown_id) for one in ids)
        for text, back in zip(texts, tokenizer.decode_batch(ids), strict=True):
            if text != back:
                self.changed += 1
                if self.changed == 1:
                    self.before, self.after = _around_change(text, back)


def losses(tokenizer: Tokenizer, found: Mapping[str, RoundTrip]) -> list[str]:
    """Sentences for the screen about what was lost, by split; none when nothing was."""
    said = []
    changed = {split: trip for split, trip in found.items() if trip.changed}
    if changed:
        shares = ", ".join(
            f"{trip.changed:,} of {trip.texts:,} in {split} ({trip.changed / trip.texts:.1%})"
            for split, trip in changed.items()
        )
        first = next(iter(changed.values()))
        said.append(
            f"texts that {tokenizer.name} tokens do not give back as they were: {shares}, "
            f"e.g. {first.before!r} as {first.after!r}; bits per byte counts the bytes of the raw text"
        )
    unknown = {split: trip for split, trip in found.items() if trip.unknown}
    if unknown:
        shares = ", ".join(
            f"{trip.unknown:,} of {trip.tokens:,} in {split} ({trip.unknown / trip.tokens:.2%})"
            for split, trip in unknown.items()
        )
        said.append(
            f"unknown tokens of {tokenizer.name}: {shares}; each costs less than what it stands for, "
            "so bits per byte flatters"
        )
    return said


def _around_change(before: str, after: str) -> tuple[str, str]:
    """The parts of two different texts from a little before the first difference on."""
    pairs = zip(before, after, strict=False)
    place = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(before), len(after)))
    start = max(0, place - SHOWN // 2)
    return before[start : start + SHOWN], after[start : start + SHOWN]
