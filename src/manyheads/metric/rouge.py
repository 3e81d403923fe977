"""ROUGE: how much of the references' words, pairs of words and word order a text has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, ClassVar

from manyheads.errors import check_choice
from manyheads.metric.output import OutputMetric
from manyheads.metric.texts import Target, mean, references, words

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
TOKENIZERS = ("default", "zh")


class Rouge(OutputMetric):
    """F1 of one kind of ROUGE, as the package `rouge-score` gives it, times 100; the mean over the examples.

    An output is a text, a target a `texts.Target`; of several references, the one with the highest F1 counts, for each
    kind by itself. The package lowers a text and drops all but a-z and 0-9, so that a Chinese text has no words and
    scores 0: `tokenize="zh"` makes each Chinese character a word.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004; its F1 with beta = 1, as in
    `rouge_score.rouge_scorer`.

    Args:
        use_stemmer: compares stems (Porter) of the words that have more than three letters, as ROUGE-1.5.5 does with -m.
        tokenize: default: rouge_score's; zh: sacrebleu's words of Chinese, lowered, where nothing is stemmed.
    """

    kind: ClassVar[str]
    unit = "F1, 0 to 100"
    higher_is_better = True

    def __init__(self, use_stemmer: bool = True, tokenize: str = "default") -> None:
        check_choice("tokenize", tokenize, TOKENIZERS)
        self.use_stemmer = use_stemmer
        self.tokenize = tokenize

    def score(self, outputs: Sequence[str], targets: Sequence[Target]) -> float:
        """From 0 to 100; nan without examples."""
        return mean(self.each(outputs, targets))

    def each(self, outputs: Sequence[str], targets: Sequence[Target]) -> list[float]:
        """From 0 to 100."""
        split = tuple(outputs), tuple(map(tuple, references(targets)))
        return [100 * scores[self.kind] for scores in _all_kinds(*split, self.use_stemmer, self.tokenize)]

    @property
    def signature(self) -> str:
        """The package, its version and its options."""
        return f"rouge_score {version('rouge_score')}, use_stemmer={self.use_stemmer}, tokenize={self.tokenize}"


class Rouge1(Rouge):
    """ROUGE-1: words."""

    name = "rouge_1"
    kind = "rouge1"


class Rouge2(Rouge):
    """ROUGE-2: pairs of words that stand together."""

    name = "rouge_2"
    kind = "rouge2"


class RougeL(Rouge):
    """ROUGE-L: the longest common subsequence of words of the two texts, whose lines are not looked at."""

    name = "rouge_l"
    kind = "rougeL"


class RougeLsum(Rouge):
    """ROUGE-L of a summary (Lin 2004, section 3.2): for each line of the reference, what the lines of the output cover.

    Sentences are the lines of a text, here as in rouge_score: whoever wants them split writes each on its own line.
    """

    name = "rouge_lsum"
    kind = "rougeLsum"


class _Chinese:
    """A tokenizer in rouge_score's sense."""

    def tokenize(self, text: str) -> list[str]:
        return words(text.lower())


# four metrics ask for the same split, each of them for its score and for its examples
@lru_cache(maxsize=2)
def _all_kinds(
    outputs: tuple[str, ...], targets: tuple[tuple[str, ...], ...], use_stemmer: bool, tokenize: str
) -> list[dict[str, float]]:
    """F1 from 0 to 1 of each kind, for each example."""
    # here, since it takes a second and a half
    from rouge_score.rouge_scorer import RougeScorer

    tokenizers: dict[str, Any] = {"default": None, "zh": _Chinese()}
    scorer = RougeScorer(list(KINDS), use_stemmer=use_stemmer, tokenizer=tokenizers[tokenize])
    scored = [scorer.score_multi(target, output) for output, target in zip(outputs, targets, strict=True)]
    return [{kind: float(scores[kind].fmeasure) for kind in KINDS} for scores in scored]
