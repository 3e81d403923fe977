"""How varied texts are that a model has made: among one another, and each within itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from manyheads.metric.output import OutputMetric
from manyheads.metric.texts import mean, ngrams, words


class _Distinct(OutputMetric):
    """Different n-grams of all outputs / words of all outputs. Targets are not looked at.

    The paper divides by words and not by n-grams. More texts have fewer new n-grams: compare equal numbers of texts of
    equal length.

    Source: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", 2016.
    """

    n: ClassVar[int]
    unit = "different n-grams per word"
    higher_is_better = True

    def score(self, outputs: Sequence[str], targets: Sequence[Any] = ()) -> float:
        """From 0 to 1; nan without a word."""
        texts = [words(output) for output in outputs]
        total = sum(map(len, texts))
        different = {ngram for text in texts for ngram in ngrams(text, self.n)}
        return len(different) / total if total else math.nan


class Distinct1(_Distinct):
    """Different words per word."""

    name = "distinct_1"
    n = 1


class Distinct2(_Distinct):
    """Different pairs of words per word."""

    name = "distinct_2"
    n = 2


class Distinct3(_Distinct):
    """Different runs of three words per word."""

    name = "distinct_3"
    n = 3


class Repetition(OutputMetric):
    """Share of an output's 4-grams that were there before in it; the mean over the outputs. Targets are not looked at.

    Source: seq-rep-4 of Welleck et al., "Neural Text Generation with Unlikelihood Training", 2020: 1 - different
    4-grams / 4-grams. Here they are of words; the paper takes the tokens of its model.
    """

    name = "repetition"
    unit = "share of 4-grams"
    higher_is_better = False
    n = 4

    def score(self, outputs: Sequence[str], targets: Sequence[Any] = ()) -> float:
        """From 0 to 1; nan when no text has 4 words."""
        return mean(self.each(outputs, targets))

    def each(self, outputs: Sequence[str], targets: Sequence[Any] = ()) -> list[float]:
        """From 0 to 1; nan for a text of fewer than 4 words."""
        return [self._share(ngrams(words(output), self.n)) for output in outputs]

    def _share(self, found: list[tuple[str, ...]]) -> float:
        return 1 - len(set(found)) / len(found) if found else math.nan
