"""Baselines of summarization: the first sentence, one sentence for all texts, and the first sentence with a cue.

M  training rows        P  phrases        S  sentences of the longest text
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manyheads.baseline.base import Baseline, evenly
from manyheads.baseline.sentences import sentences
from manyheads.metric.texts import Target, listed

SAMPLE = 1_000
"""Training rows that a sentence or a cue is chosen on, evenly apart."""
LONGEST_CUE = 3
"""Words."""
MOST_PHRASES = 3_000
RARE = 0.01
"""The share of texts that have a phrase, below which it is no cue."""
MOST_CUES = 20
LEAST_GAIN = 0.001
"""Of the mean F1: a cue that adds less is not taken."""

Tokenize = Callable[[str], list[str]]


def summarizers() -> Mapping[str, Baseline]:
    """The baselines of any summaries."""
    return {"lead_1": Lead, "constant": Constant, "cue_sentence": CueSentence}


class Lead:
    """The first sentence."""

    def __init__(self, inputs: Sequence[str], targets: Sequence[Target]) -> None:
        pass

    def __call__(self, inputs: Sequence[str]) -> list[str]:
        return [next(iter(sentences(text)), "") for text in inputs]


class Constant:
    """One training summary for every text: that which has the highest mean ROUGE-1 over the training summaries."""

    def __init__(self, inputs: Sequence[str], targets: Sequence[Target]) -> None:
        chosen: list[int] = evenly(len(targets), SAMPLE).tolist()
        summaries = [listed(targets[i])[0] for i in chosen]
        means = _overlaps(summaries).mean(1)
        self.sentence = summaries[int(means.argmax())] if summaries else ""

    def __call__(self, inputs: Sequence[str]) -> list[str]:
        return [self.sentence for _ in inputs]


class CueSentence:
    """The first sentence that has one of a few cues, such as "in this paper"; the first of all where none has.

    The cues come from the training rows: phrases of up to LONGEST_CUE words, taken one after the other, each time the one
    with which the sentences that are chosen have the highest mean ROUGE-1 with the summaries. That a few cues mark the
    sentences that say what a text is about is Edmundson's finding, "New methods in automatic extracting", 1969, section 3.

    Attributes:
        cues: in the order in which they were taken.
    """

    def __init__(self, inputs: Sequence[str], targets: Sequence[Target]) -> None:
        chosen: list[int] = evenly(len(inputs), SAMPLE).tolist()
        texts = [sentences(inputs[i]) for i in chosen]
        pairs = [(text, listed(targets[i])[0]) for text, i in zip(texts, chosen, strict=True) if text]
        self.cues = _cues([text for text, _ in pairs], [summary for _, summary in pairs])

    def __call__(self, inputs: Sequence[str]) -> list[str]:
        return [self._sentence(sentences(text)) for text in inputs]

    def _sentence(self, text: Sequence[str]) -> str:
        cued = (sentence for sentence in text if not set(self.cues).isdisjoint(_phrases(sentence)))
        return next(cued, text[0] if text else "")


def _cues(texts: Sequence[Sequence[str]], summaries: Sequence[str]) -> list[str]:
    """The cues of texts that have a sentence at least."""
    if not texts:
        return []
    phrases, first = _places(texts)  # [P, M], the number of the first sentence with the phrase, or S
    worth = _worth(texts, summaries)  # [M, S + 1]
    none, rows = worth.shape[1] - 1, np.arange(len(texts))
    found, cues = np.full(len(texts), none), list[str]()
    while len(phrases) and len(cues) < MOST_CUES:
        means = worth[rows, np.minimum(first, found)].mean(1)  # [P]
        best = int(means.argmax())
        if means[best] - worth[rows, found].mean() < LEAST_GAIN:
            break
        cues.append(phrases[best])
        found = np.minimum(found, first[best])
    return cues


def _places(texts: Sequence[Sequence[str]]) -> tuple[list[str], NDArray[np.int64]]:
    """The phrases that are not rare, and where each stands first in each text, [P, M]."""
    none = max(map(len, texts))
    firsts: dict[str, dict[int, int]] = defaultdict(dict)
    for row, text in enumerate(texts):
        for place, sentence in enumerate(text):
            for phrase in _phrases(sentence):
                firsts[phrase].setdefault(row, place)
    counts = Counter({phrase: len(rows) for phrase, rows in firsts.items()})
    least = max(2, RARE * len(texts))
    phrases = [phrase for phrase, count in counts.most_common(MOST_PHRASES) if count >= least]
    first = np.full((len(phrases), len(texts)), none)
    for number, phrase in enumerate(phrases):
        first[number, list(firsts[phrase])] = list(firsts[phrase].values())
    return phrases, first


def _worth(texts: Sequence[Sequence[str]], summaries: Sequence[str]) -> NDArray[np.float64]:
    """[M, S + 1] the ROUGE-1 of each sentence of each text with its summary, and, last, that of the text's first."""
    made = np.zeros((len(texts), max(map(len, texts)) + 1))
    for row, (text, summary) in enumerate(zip(texts, summaries, strict=True)):
        wanted = _occurrences(summary)
        made[row, : len(text)] = [f1(_occurrences(sentence), wanted) for sentence in text]
    made[:, -1] = made[:, 0]
    return made


def _phrases(sentence: str) -> list[str]:
    """The runs of up to LONGEST_CUE words of a sentence, lowered, each once: in order, since of equal cues the first is
    taken, and a set's order is another one in each process."""
    words = sentence.lower().split()
    lengths = range(1, LONGEST_CUE + 1)
    return list(dict.fromkeys(" ".join(words[i : i + n]) for n in lengths for i in range(len(words) - n + 1)))


def rouge_1(text: str, reference: str) -> float:
    """ROUGE-1 of a text, 0 to 1: what the package rouge-score gives with stems, in a tenth of its time."""
    return f1(_occurrences(text), _occurrences(reference))


def f1(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> float:
    """ROUGE-1 of two texts by their occurrences, 0 to 1: what the package rouge-score gives with stems."""
    return 2 * len(one & other) / max(len(one) + len(other), 1)


def _overlaps(texts: Sequence[str]) -> NDArray[np.float64]:
    """[M, M] ROUGE-1 of each two texts, 0 to 1."""
    found = [_occurrences(text) for text in texts]
    index = {key: number for number, key in enumerate(dict.fromkeys(key for one in found for key in one))}
    there = np.zeros((len(texts), len(index)), np.float32)
    for row, one in enumerate(found):
        there[row, [index[key] for key in one]] = 1
    lengths = np.array([len(one) for one in found], np.float64)
    return 2 * (there @ there.T) / np.maximum(lengths[:, None] + lengths, 1)


def _occurrences(text: str) -> set[tuple[str, int]]:
    """Each stem with the number of times that it has stood before: what two texts share of these they share of words."""
    counts: Counter[str] = Counter()
    found = set()
    for stem in _stems(text):
        found.add((stem, counts[stem]))
        counts[stem] += 1
    return found


def _stems(text: str) -> Iterable[str]:
    words, stem = _tokenizers()
    return (_stem(word, stem) for word in words(text))


@functools.cache
def _tokenizers() -> tuple[Tokenize, Tokenize]:
    """What makes words of a text, and stems."""
    # here, since it takes a second
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=False).tokenize, DefaultTokenizer(use_stemmer=True).tokenize


@functools.lru_cache(maxsize=100_000)
def _stem(word: str, stem: Tokenize) -> str:
    # the stemmer is slow, and words come again
    return stem(word)[0]
