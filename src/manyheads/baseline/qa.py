"""Baselines of question answering: no answer, the same words of every context, all of it, and the sentence nearest the question.

An input is a dict with a question and its context, a target the texts of all gold answers, an output a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manyheads.baseline.base import Baseline, evenly
from manyheads.baseline.sentences import sentences
from manyheads.metric.squad import normalized

SAMPLE = 1_000
"""Training rows that a span is chosen on, evenly apart."""
MOST_WORDS = 128
"""Of a context, from its beginning, among which the fixed span is chosen."""
STEM = 4
"""Characters of a word that are compared."""

Inputs = Sequence[Mapping[str, str]]


def answerers(*, unanswerable: bool) -> Mapping[str, Baseline]:
    """The baselines of questions that may have no answer, or of those that each have one."""
    rules: dict[str, Baseline] = {
        "fixed_span": FixedSpan,
        "whole_context": WholeContext,
        "best_sentence": BestSentence,
    }
    return {"no_answer": NoAnswer, **rules} if unanswerable else rules


class NoAnswer:
    """That there is none, to every question."""

    def __init__(self, inputs: Inputs, targets: Sequence[Sequence[str]]) -> None:
        pass

    def __call__(self, inputs: Inputs) -> list[str]:
        return ["" for _ in inputs]


class FixedSpan:
    """The same words of every context, such as the third to the tenth: those with the highest mean F1 on train.

    F1 is that of SQuAD's scripts with the first gold answer; rows without one are passed over. Words are what white space
    parts. Of spans that are as good, the one that begins first is taken, and of these the shortest.

    Attributes:
        span: the number of the first word, from 0, and of the word behind the last one.
    """

    def __init__(self, inputs: Inputs, targets: Sequence[Sequence[str]]) -> None:
        rows = [(given["context"], golds[0]) for given, golds in zip(inputs, targets, strict=True) if golds]
        total = np.zeros((MOST_WORDS + 1, MOST_WORDS + 1))
        for row in evenly(len(rows), SAMPLE).tolist():
            total += _span_f1(*rows[row])
        first, end = np.unravel_index(int(total.argmax()), total.shape)
        self.span = int(first), int(end)

    def __call__(self, inputs: Inputs) -> list[str]:
        return [" ".join(given["context"].split()[slice(*self.span)]) for given in inputs]


class WholeContext:
    """The context, whatever is asked: the one span that every row has and that holds every answer."""

    def __init__(self, inputs: Inputs, targets: Sequence[Sequence[str]]) -> None:
        pass

    def __call__(self, inputs: Inputs) -> list[str]:
        return [given["context"] for given in inputs]


class BestSentence:
    """The sentence of the context that has the most different words of the question; of equals the longest, then the first.

    Words are lowered, without punctuation and articles, as SQuAD's scripts compare answers, and those that begin with the
    same STEM characters are one, since questions ask "collect" where texts have "collected". Of an empty context, the empty
    text. STEM and the longest were chosen on the training rows of PolicyQA, over whole words and the first of equals.
    """

    def __init__(self, inputs: Inputs, targets: Sequence[Sequence[str]]) -> None:
        pass

    def __call__(self, inputs: Inputs) -> list[str]:
        return [_best_sentence(given["context"], given["question"]) for given in inputs]


def _best_sentence(context: str, question: str) -> str:
    asked = set(_stems(question))

    def worth(sentence: str) -> tuple[int, int]:
        stems = _stems(sentence)
        return len(asked.intersection(stems)), len(stems)

    return max(sentences(context), key=worth, default="")


def _stems(text: str) -> list[str]:
    return [word[:STEM] for word in normalized(text).split()]


def _span_f1(context: str, gold: str) -> NDArray[np.float64]:
    """[MOST_WORDS + 1, MOST_WORDS + 1] the F1 of the words from i on, up to j, with the gold answer; 0 where j <= i."""
    # a word such as "the" is none once normalized, and one such as "and/or" stays one
    words = [normalized(word).split() for word in context.split()[:MOST_WORDS]]
    wanted = Counter(normalized(gold).split())
    shared = np.zeros((MOST_WORDS + 1, MOST_WORDS + 1))
    for word, count in wanted.items():
        shared += np.minimum(_between([found.count(word) for found in words]), count)
    return 2 * shared / np.maximum(_between([len(found) for found in words]) + wanted.total(), 1)


def _between(counts: Sequence[int]) -> NDArray[np.int64]:
    """[MOST_WORDS + 1, MOST_WORDS + 1] the sum of the counts from i on, up to j; 0 where j <= i."""
    until = np.zeros(MOST_WORDS + 1, np.int64)
    until[1 : len(counts) + 1] = np.cumsum(counts)
    until[len(counts) + 1 :] = until[len(counts)]
    return np.maximum(until[None, :] - until[:, None], 0)
