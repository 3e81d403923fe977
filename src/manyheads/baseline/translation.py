"""Baselines of translation: the source as it is, and each of its words by itself, as alignments translate it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manyheads.baseline.base import Baseline

ROUNDS = 5
"""Of EM."""
MOST_LINKS = 20_000_000
"""Words of a source times words of its target, over all pairs that are aligned: about 1 GB, and 10 seconds."""

NULL = ""
"""What words of a target come from that no word of the source stands for."""

_WORD = re.compile(r"\w+|[^\w\s]")
_SPACE_BEFORE = re.compile(r"\s+([.,!?;:)\]}»%])")
_SPACE_AFTER = re.compile(r"([(\[{«])\s+")

Ints = NDArray[np.int64]


def translators() -> Mapping[str, Baseline]:
    """The baselines of a pair of languages."""
    return {"copy": Copy, "word_by_word": WordByWord}


class Copy:
    """The source."""

    def __init__(self, inputs: Sequence[str], targets: Sequence[Sequence[str]]) -> None:
        pass

    def __call__(self, inputs: Sequence[str]) -> list[str]:
        return list(inputs)


class WordByWord:
    """The likeliest word of the target language for each word of the source, in the source's order.

    Likeliest by IBM model 1, whose word t of a target comes from each of the source's words and from none with equal
    chance beforehand: t(t | s), found by EM on the training pairs. A word that train does not have stays as it is.
    Words are runs of letters and digits, as they are written, and single marks. A target is its first reference.

    Source: Brown et al., "The Mathematics of Statistical Machine Translation", 1993, section 4.1.
    """

    def __init__(self, inputs: Sequence[str], targets: Sequence[Sequence[str]]) -> None:
        numbers: dict[str, int] = {NULL: 0}
        sources = [_numbered([NULL, *_words(text)], numbers) for text in inputs]
        words: dict[str, int] = {}
        found = [_numbered(_words(references[0]), words) for references in targets]
        kept = _within(sources, found)
        best = ibm_model_1([sources[i] for i in kept], [found[i] for i in kept], len(words))
        spelled, spelled_sources = list(words), list(numbers)
        self.translations = {
            spelled_sources[source]: spelled[word] for source, word in best.items() if source != numbers[NULL]
        }

    def __call__(self, inputs: Sequence[str]) -> list[str]:
        return [_joined(self.translations.get(word, word) for word in _words(text)) for text in inputs]


def ibm_model_1(sources: Sequence[Ints], targets: Sequence[Ints], num_words: int) -> dict[int, int]:
    """The likeliest word of the target language, below `num_words`, for each word of a source; the first of equals."""
    source, word, chances = alignments(sources, targets, num_words)
    order = np.lexsort((word, -chances, source))
    first = np.unique(source[order], return_index=True)[1]
    return dict(zip(source[order][first].tolist(), word[order][first].tolist(), strict=True))


def alignments(sources: Sequence[Ints], targets: Sequence[Ints], num_words: int) -> tuple[Ints, Ints, NDArray]:
    """(word of a source, word of a target, t(target | source)) for each two that stand in one pair, after ROUNDS of EM.

    It begins with all words of a target as likely as each other.
    """
    lengths = [(len(one), len(other)) for one, other in zip(sources, targets, strict=True)]
    # a link for each word of a source with each word of its target; those of one word of a target follow on each other
    links = [np.add.outer(other, one * num_words).ravel() for one, other in zip(sources, targets, strict=True)]
    if not sum(map(len, links)):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    kinds, link = np.unique(np.concatenate(links), return_inverse=True)
    of_source, word = np.divmod(kinds, num_words)
    widths = np.concatenate([np.full(others, ones) for ones, others in lengths])
    starts = np.cumsum(widths) - widths
    chances = np.full(len(kinds), 1.0)
    for _ in range(ROUNDS):
        each = chances[link]
        each /= np.repeat(np.add.reduceat(each, starts), widths)
        counts = np.bincount(link, each, minlength=len(kinds))
        chances = counts / np.bincount(of_source, counts)[of_source]
    return of_source, word, chances


def _within(sources: Sequence[Ints], targets: Sequence[Ints]) -> Ints:
    """Pairs that stand evenly apart, with at most MOST_LINKS links in all."""
    links = np.array([len(one) * len(other) for one, other in zip(sources, targets, strict=True)], np.int64)
    step = max(1, int(np.ceil(links.sum() / MOST_LINKS)))
    chosen = np.arange(0, len(links), step)
    return chosen[np.cumsum(links[chosen]) <= MOST_LINKS]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _numbered(words: Iterable[str], numbers: dict[str, int]) -> Ints:
    return np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)


def _joined(words: Iterable[str]) -> str:
    """Words with spaces between them, but beside marks, as most languages of Europe write them."""
    return _SPACE_AFTER.sub(r"\1", _SPACE_BEFORE.sub(r"\1", " ".join(words)))
