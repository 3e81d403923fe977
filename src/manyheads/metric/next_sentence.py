"""How often a network tells whether the second text of a pair follows on the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

from manyheads.metric.output import OutputMetric


@final
class NextSentenceAccuracy(OutputMetric):
    """The share of pairs that are told: outputs are (how many were told, of how many) pairs. By chance it is about 0.5.

    Source: Devlin et al. 2019, section 3.1 (97 to 98 % of BERT's pairs: there in a footnote).
    """

    name = "next_sentence_accuracy"
    unit = "share"
    higher_is_better = True

    def score(self, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
        told, count = sum(right for right, _ in outputs), sum(number for _, number in outputs)
        return told / count if count else math.nan
