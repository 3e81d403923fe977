"""Exact match and F1 where some questions have no answer, as the evaluation script of SQuAD v2.0 computes them.

An output is a text or a `squad.Answer`: a text, empty where no answer is found, with the probability that there is
none. A target is a list of all gold answers, empty where the question has none, or a dict with such a list under
`references`. Gold answers of which normalizing leaves nothing count as none; the best of the others counts.

Source: Rajpurkar, Jia, Liang, "Know What You Don't Know: Unanswerable Questions for SQuAD", 2018, and its
evaluate-v2.0.py.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from manyheads.metric.output import OutputMetric
from manyheads.metric.squad import Answer, answer, exact_match, f1, normalized, percent
from manyheads.metric.texts import Target, listed

Outputs = Sequence[str | Answer]
Targets = Sequence[Target]


def f1_or_none(gold: str, text: str) -> float:
    """F1 of squad.py, but 1 where neither has a word: no answer was given, and there is none."""
    return f1(gold, text) if normalized(gold) or normalized(text) else 1.0


class _Squad2(OutputMetric):
    """What the scores of v2.0 share: how one answer is compared with a gold one."""

    unit = "percent"
    higher_is_better = True

    @abstractmethod
    def compare(self, gold: str, text: str) -> float:
        """From 0 to 1."""

    def raw(self, outputs: Outputs, targets: Targets) -> list[float]:
        """Of the texts alone, whatever their probabilities; from 0 to 1."""
        pairs = zip(outputs, targets, strict=True)
        return [self._best(answer(output).text, listed(target)) for output, target in pairs]

    def _best(self, text: str, golds: Sequence[str]) -> float:
        kept = [gold for gold in golds if normalized(gold)] or [""]
        return max(self.compare(gold, text) for gold in kept)


class _Exact(_Squad2):
    def compare(self, gold: str, text: str) -> float:
        return exact_match(gold, text)


class _F1(_Squad2):
    def compare(self, gold: str, text: str) -> float:
        return f1_or_none(gold, text)


class _Mean(_Squad2):
    """The mean over the questions that `asks` is true of.

    Args:
        threshold: an answer whose probability that there is none is above it counts as the empty text.
    """

    def __init__(self, threshold: float = 1.0) -> None:
        self.threshold = threshold

    def asks(self, has_answer: bool) -> bool:
        """Whether such a question is scored."""
        return True

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """From 0 to 100; nan without such a question."""
        rows = zip(self.thresholded(outputs, targets), targets, strict=True)
        return percent([share for share, target in rows if self.asks(bool(listed(target)))])

    def thresholded(self, outputs: Outputs, targets: Targets) -> list[float]:
        """From 0 to 1, of all questions."""
        rows = zip(self.raw(outputs, targets), outputs, targets, strict=True)
        return [self._thresholded(share, output, target) for share, output, target in rows]

    def _thresholded(self, share: float, output: str | Answer, target: Target) -> float:
        return float(not listed(target)) if answer(output).no_answer > self.threshold else share


class _OfAll(_Mean):
    def each(self, outputs: Outputs, targets: Targets) -> list[float]:
        """From 0 to 100."""
        return [100.0 * share for share in self.thresholded(outputs, targets)]


class _OfAnswerable(_Mean):
    def asks(self, has_answer: bool) -> bool:
        return has_answer


class _OfUnanswerable(_Mean):
    def asks(self, has_answer: bool) -> bool:
        return not has_answer


class Exact(_Exact, _OfAll):
    """`exact` of the script."""

    name = "exact"


class F1(_F1, _OfAll):
    """`f1` of the script."""

    name = "f1"


class AnswerableExact(_Exact, _OfAnswerable):
    """`HasAns_exact` of the script: of the questions that have an answer."""

    name = "has_ans_exact"


class AnswerableF1(_F1, _OfAnswerable):
    """`HasAns_f1` of the script: of the questions that have an answer."""

    name = "has_ans_f1"


class UnanswerableExact(_Exact, _OfUnanswerable):
    """`NoAns_exact` of the script: of the questions that have none."""

    name = "no_ans_exact"


class UnanswerableF1(_F1, _OfUnanswerable):
    """`NoAns_f1` of the script: of the questions that have none."""

    name = "no_ans_f1"


class _Best(_Squad2):
    """The mean over all questions at the threshold that makes it highest: the threshold is chosen on what is scored."""

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """From 0 to 100; nan without examples."""
        return self.best(outputs, targets)[0]

    def best(self, outputs: Outputs, targets: Targets) -> tuple[float, float]:
        """(score, its threshold): the answers that are kept have a probability of at most that; 0 when none is better.

        As in the script, one question after the other comes under the threshold, those of one probability in the order
        of the examples; so the best score may cut through a tie.
        """
        shares = self.raw(outputs, targets)
        score = top = float(sum(not listed(target) for target in targets))  # when no question is answered
        threshold = 0.0
        for index in sorted(range(len(outputs)), key=lambda index: answer(outputs[index]).no_answer):
            given = answer(outputs[index])
            # an answer to a question that has none takes away the point that silence had
            score += shares[index] if listed(targets[index]) else -float(bool(given.text))
            if score > top:
                top, threshold = score, given.no_answer
        return (100.0 * top / len(shares), threshold) if shares else (math.nan, math.nan)


class BestExact(_Exact, _Best):
    """`best_exact` of the script."""

    name = "best_exact"


class BestF1(_F1, _Best):
    """`best_f1` of the script."""

    name = "best_f1"


class _Threshold(_Best):
    """Where the best score is. Neither direction is better; a checkpoint or a sweep should not follow it."""

    unit = "probability of no answer"

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """A threshold for `threshold=`; nan without examples."""
        return self.best(outputs, targets)[1]


class BestExactThreshold(_Exact, _Threshold):
    """`best_exact_thresh` of the script."""

    name = "best_exact_thresh"


class BestF1Threshold(_F1, _Threshold):
    """`best_f1_thresh` of the script."""

    name = "best_f1_thresh"


class UsedThreshold(OutputMetric):
    """What the other scores' `threshold` was. Neither direction is better.

    Args:
        threshold: as theirs.
    """

    name = "no_answer_threshold"
    unit = "probability of no answer"
    higher_is_better = False

    def __init__(self, threshold: float = 1.0) -> None:
        self.threshold = threshold

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """The threshold, whatever the outputs; nan without examples."""
        return self.threshold if outputs else math.nan
