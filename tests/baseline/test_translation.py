"""Guards EM against hand counts, and words that train does not have."""

from __future__ import annotations

import numpy as np
import pytest

from manyheads.baseline import translation
from manyheads.baseline.translation import Copy, WordByWord, alignments


def plain_ibm_1(pairs: list[tuple[list[int], list[int]]], rounds: int) -> dict[tuple[int, int], float]:
    """EM as Brown et al. 1993 write it, one word after the other."""
    t = {(s, w): 1.0 for source, target in pairs for s in source for w in target}
    for _ in range(rounds):
        counts = dict.fromkeys(t, 0.0)
        for source, target in pairs:
            for w in target:
                for s in source:
                    counts[s, w] += t[s, w] / sum(t[other, w] for other in source)
        totals = {s: sum(count for (other, _), count in counts.items() if other == s) for s, _ in t}
        t = {(s, w): count / totals[s] for (s, w), count in counts.items()}
    return t


def test_em_is_that_of_the_plain_loops() -> None:
    """A source that says a word twice, and one target that is empty."""
    pairs = [([0, 1, 2], [0, 1]), ([0, 1, 3, 3], [0, 2, 2]), ([0, 4], [1]), ([0, 2], [])]
    arrays = [(np.array(one, np.int64), np.array(other, np.int64)) for one, other in pairs]
    source, word, chances = alignments([one for one, _ in arrays], [other for _, other in arrays], 3)
    found = dict(zip(zip(source.tolist(), word.tolist(), strict=True), chances.tolist(), strict=True))
    assert found == pytest.approx(plain_ibm_1(pairs, translation.ROUNDS))


def test_words_are_told_apart_by_the_pairs_that_they_share() -> None:
    """Brown et al.'s own kind of example: das Haus, das Buch, ein Buch."""
    made = WordByWord(["das Haus", "das Buch", "ein Buch"], [["the house"], ["the book"], ["a book"]])
    assert made(["ein Haus, das Wort!"]) == ["a house, the Wort!"]


def test_of_many_pairs_some_are_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "MOST_LINKS", 10)
    made = WordByWord(["das Haus"] * 9, [["the house"]] * 9)
    assert set(made.translations.values()) <= {"the", "house"}


def test_nothing_to_align_copies() -> None:
    assert WordByWord([""], [[""]])(["ein Haus"]) == ["ein Haus"]
    assert Copy([], [])(["ein Haus"]) == ["ein Haus"]
