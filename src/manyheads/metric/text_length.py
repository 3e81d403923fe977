"""How long texts are beside their references, and how much of them is not taken from their source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from manyheads.metric.output import OutputMetric
from manyheads.metric.texts import Sourced, Target, mean, ngrams, references, words


class LengthRatio(OutputMetric):
    """Words of all outputs / words of all references; 1 is the references' own length.

    Of several references the one that is nearest in length counts, the shorter of two that are as near: BLEU's effective
    reference length (Papineni et al., "BLEU", 2002, section 2.2.2), so that this is the `ratio` that sacrebleu prints
    with its tokenizer `zh`. Neither direction is better; a checkpoint or a sweep should not follow it.
    """

    name = "length_ratio"
    unit = "words of the output per word of the reference"
    higher_is_better = True

    def score(self, outputs: Sequence[str], targets: Sequence[Target]) -> float:
        """Over the whole split, not a mean of ratios; nan when the references have no words."""
        lengths = _lengths(outputs, targets)
        return _ratio(sum(output for output, _ in lengths), sum(reference for _, reference in lengths))

    def each(self, outputs: Sequence[str], targets: Sequence[Target]) -> list[float]:
        """nan where the reference has no words."""
        return [_ratio(output, reference) for output, reference in _lengths(outputs, targets)]


class _NovelNgrams(OutputMetric):
    """Share of the n-grams of a text that its source does not have; the mean over the texts that have any.

    An output is a text, a target a `texts.Sourced`. Words are lowered, and an n-gram counts as often as it is there.

    Source: See, Liu, Manning, "Get To The Point: Summarization with Pointer-Generator Networks", 2017, section 7.2
    and figure 6.
    """

    n: ClassVar[int]
    higher_is_better = True

    def score(self, outputs: Sequence[str], targets: Sequence[Sourced]) -> float:
        """From 0 to 1; nan when no text has n words."""
        return mean(self.each(outputs, targets))

    def each(self, outputs: Sequence[str], targets: Sequence[Sourced]) -> list[float]:
        """From 0 to 1; nan for a text of fewer than n words."""
        return [self._share(output, target["source"]) for output, target in zip(outputs, targets, strict=True)]

    def _share(self, output: str, source: str) -> float:
        known = set(ngrams(words(source.lower()), self.n))
        return mean(float(ngram not in known) for ngram in ngrams(words(output.lower()), self.n))


class NovelBigrams(_NovelNgrams):
    """Pairs of words that the source does not have; 0: all of them are copied."""

    name = "novel_bigrams"
    unit = "share of bigrams"
    n = 2


def _lengths(outputs: Sequence[str], targets: Sequence[Target]) -> list[tuple[int, int]]:
    """(words of the output, words of the reference that is nearest in length) of each example."""
    pairs = zip(outputs, references(targets), strict=True)
    return [_nearest(len(words(output)), [len(words(text)) for text in texts]) for output, texts in pairs]


def _nearest(length: int, lengths: Sequence[int]) -> tuple[int, int]:
    return length, min(lengths, key=lambda other: (abs(other - length), other))


def _ratio(words_of_outputs: int, words_of_references: int) -> float:
    return words_of_outputs / words_of_references if words_of_references else math.nan
