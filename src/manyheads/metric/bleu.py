"""BLEU and chrF, through sacrebleu: scores of translations that say how they were computed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from manyheads.errors import check_choice
from manyheads.metric.output import OutputMetric
from manyheads.metric.texts import Target, references

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric

TOKENIZERS = ("13a", "zh", "char", "intl", "none")
"""sacrebleu's own; the others of its tokenizers need a model from elsewhere."""


class _Sacrebleu(OutputMetric):
    """A metric of sacrebleu. An output is a text, a target a `texts.Target`; examples may differ in their references."""

    unit = "points, 0 to 100"
    higher_is_better = True

    def __init__(self) -> None:
        self._signature: str | None = None

    @abstractmethod
    def scorer(self, of_sentences: bool) -> SacrebleuMetric:
        """The metric of sacrebleu, of a corpus or of single sentences."""

    def score(self, outputs: Sequence[str], targets: Sequence[Target]) -> float:
        """From 0 to 100, from the counts of the whole split; nan without examples."""
        if not outputs:
            return math.nan
        assert len(outputs) == len(targets)
        scorer = self.scorer(of_sentences=False)
        # sacrebleu takes streams of references, with None where an example has no more
        streams = list(zip_longest(*references(targets)))
        score = scorer.corpus_score(list(outputs), streams).score
        self._signature = str(scorer.get_signature())
        return score

    def each(self, outputs: Sequence[str], targets: Sequence[Target]) -> list[float]:
        """From 0 to 100, of each text as a sentence by itself."""
        scorer = self.scorer(of_sentences=True)
        pairs = zip(outputs, references(targets), strict=True)
        return [scorer.sentence_score(output, texts).score for output, texts in pairs]

    @property
    def signature(self) -> str | None:
        """sacrebleu's signature of the split that was scored last, whose number of references it holds; None before."""
        return self._signature


class Bleu(_Sacrebleu):
    """BLEU of a corpus, with sacrebleu's smoothing (exp). `each` leaves out the orders that a sentence is too short for.

    Sources: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002; Post, "A Call for
    Clarity in Reporting BLEU Scores", 2018.

    Args:
        tokenize: sacrebleu's tokenizer: 13a for most languages, zh for Chinese, char for languages without spaces, intl
            for other punctuation than English has, none for texts that are tokenized.
        lowercase: whether case is left out.
    """

    name = "bleu"

    def __init__(self, tokenize: str = "13a", lowercase: bool = False) -> None:
        super().__init__()
        check_choice("tokenize", tokenize, TOKENIZERS)
        self.tokenize = tokenize
        self.lowercase = lowercase

    def scorer(self, of_sentences: bool) -> SacrebleuMetric:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, effective_order=of_sentences)


class _Chrf(_Sacrebleu):
    word_order: int

    def __init__(self, lowercase: bool = False) -> None:
        super().__init__()
        self.lowercase = lowercase

    def scorer(self, of_sentences: bool) -> SacrebleuMetric:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=self.word_order, lowercase=self.lowercase)


class Chrf(_Chrf):
    """chrF2: F-score of character n-grams up to 6, where recall counts twice as much; needs no tokenizer.

    Source: Popovic, "chrF: character n-gram F-score for automatic MT evaluation", 2015.

    Args:
        lowercase: whether case is left out.
    """

    name = "chrf"
    word_order = 0


class ChrfPlusPlus(_Chrf):
    """chrF2++: chrF2 with words and pairs of words besides.

    Source: Popovic, "chrF++: words helping character n-grams", 2017.

    Args:
        lowercase: whether case is left out.
    """

    name = "chrf_plus_plus"
    word_order = 2
