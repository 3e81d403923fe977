"""Exact match and F1 of answers, as the evaluation script of SQuAD v1.1 computes them."""

from __future__ import annotations

import math
import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from manyheads.metric.output import OutputMetric
from manyheads.metric.texts import Target, references

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


class Answer(NamedTuple):
    """What is answered, and how likely it is that the question has no answer. No score depends on the rest."""

    text: str  # empty: there is none
    no_answer: float = 0.0  # from 0 to 1
    start: int | None = None  # the character of the context where it starts, if it is a part of one
    score: float | None = None  # of that part: logits of its start and its end together
    difference: float | None = None  # how much higher the score of no answer is; no_answer is its logistic function


def answer(output: str | Answer) -> Answer:
    """A text alone is an answer that is sure to be one."""
    return output if isinstance(output, Answer) else Answer(output)


def normalized(text: str) -> str:
    """Lowered, without ASCII punctuation, then without the words a, an and the, and with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(gold: str, text: str) -> float:
    """1 when both are the same once normalized, else 0."""
    return float(normalized(gold) == normalized(text))


def f1(gold: str, text: str) -> float:
    """Harmonic mean of precision and recall of the normalized words, from 0 to 1; 0 when they share none."""
    wanted, given = normalized(gold).split(), normalized(text).split()
    shared = sum((Counter(wanted) & Counter(given)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def percent(shares: Sequence[float]) -> float:
    """100 times the mean; nan without any."""
    return 100.0 * sum(shares) / len(shares) if shares else math.nan


class _Squad1(OutputMetric):
    """An output is a text or an `Answer`, a target a `texts.Target` of all gold answers, of which the best match counts.

    Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, section 6.1, and its
    evaluate-v1.1.py.
    """

    unit = "percent"
    higher_is_better = True

    @abstractmethod
    def compare(self, gold: str, text: str) -> float:
        """From 0 to 1."""

    def score(self, outputs: Sequence[str | Answer], targets: Sequence[Target]) -> float:
        """From 0 to 100; nan without examples."""
        return percent(self._shares(outputs, targets))

    def each(self, outputs: Sequence[str | Answer], targets: Sequence[Target]) -> list[float]:
        """From 0 to 100."""
        return [100.0 * share for share in self._shares(outputs, targets)]

    def _shares(self, outputs: Sequence[str | Answer], targets: Sequence[Target]) -> list[float]:
        pairs = zip(outputs, references(targets), strict=True)
        return [max(self.compare(gold, answer(output).text) for gold in golds) for output, golds in pairs]


class ExactMatch(_Squad1):
    """Answers that are the same as a gold one but for case, punctuation, articles and white space."""

    name = "exact_match"

    def compare(self, gold: str, text: str) -> float:
        return exact_match(gold, text)


class AnswerF1(_Squad1):
    """Words that an answer shares with a gold one. Two answers without a word share none, and score 0."""

    name = "f1"

    def compare(self, gold: str, text: str) -> float:
        return f1(gold, text)
