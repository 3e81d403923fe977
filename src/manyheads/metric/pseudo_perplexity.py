"""How well a network that reads in both directions knows each token by all the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

from manyheads.metric.output import OutputMetric


@final
class PseudoPerplexity(OutputMetric):
    """exp(sum of the losses of all tokens, each masked alone / how many): outputs are (sum in nats, count) pairs.

    Depends on the tokenizer. It is no perplexity, for the product of the probabilities is none of the text.

    Source: Salazar, Liang, Nguyen and Kirchhoff, "Masked Language Model Scoring", 2020, equations 1 and 3.
    """

    name = "pseudo_perplexity"
    unit = "tokens"
    higher_is_better = False

    def score(self, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
        total, count = sum(loss for loss, _ in outputs), sum(number for _, number in outputs)
        return math.exp(total / count) if count else math.nan
