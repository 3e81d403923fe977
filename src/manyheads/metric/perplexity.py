"""How many tokens, or words, the model hesitates between, on average."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from manyheads.metric.base import PerToken
from manyheads.metric.output import OutputMetric


class Perplexity(PerToken):
    """exp(sum of the losses / count of the labels): of the whole split, so it does not move with the batch size.

    Source: Jelinek, Mercer, Bahl, Baker, "Perplexity - a measure of the difficulty of speech recognition tasks", 1977.
    """

    name = "perplexity"
    unit = "tokens"
    higher_is_better = False

    def compute(self) -> Tensor:
        """Perplexity per token, []."""
        return self.mean().exp()


class WordPerplexity(OutputMetric):
    """exp(sum of the losses of all labels / number of words), so that tokenizers compare.

    A word is what white space parts (Python's `str.split`), marks included. The losses of white space and of the ends of
    texts are in the sum, though they are no words. Of a script without spaces a whole line is a word, and this says nothing.
    Outputs are sums of losses in nats, targets the numbers of words that they are over.

    Source: Mielke, "Can you compare perplexity across different segmentations?", 2019, whose normalizer it is: the one
    number of words of a text, whatever it was cut into.
    """

    name = "perplexity_per_word"
    unit = "words"
    higher_is_better = False

    def score(self, outputs: Sequence[float], targets: Sequence[int]) -> float:
        """Perplexity per word; nan without a word, infinity where a float has no room for it."""
        words = sum(targets)
        if not words:
            return math.nan
        try:
            return math.exp(sum(outputs) / words)
        except OverflowError:
            return math.inf
