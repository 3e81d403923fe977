"""How many analogies word vectors solve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from manyheads.metric.neighbours import nearest, unit
from manyheads.metric.output import OutputMetric


@final
class Analogies(OutputMetric):
    """The share of questions "a is to b as c is to what?" that are answered with the right word; outputs and targets are tokens.

    Source: Mikolov et al. 2013a, section 4.1, whose test file has 19,544 questions.
    """

    name = "analogies"
    unit = "share"
    higher_is_better = True

    def score(self, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
        right = sum(output == target for output, target in zip(outputs, targets, strict=True))
        return right / len(outputs) if outputs else math.nan


def answered(vectors: Tensor, questions: Tensor, among: Tensor) -> Tensor:
    """[N] the word of `among` [M] whose direction is nearest to that of b - a + c, for [N, 3] words a, b and c, which are no
    answers themselves; of [V, D] vectors, each taken with length 1.

    Source: Mikolov, Yih and Zweig 2013, section 4; called 3CosAdd by Levy and Goldberg 2014, equation 2.
    """
    units = unit(vectors)
    a, b, c = units[questions].unbind(1)
    found, _ = nearest(units, b - a + c, among=among, without=questions, count=1)
    return found[:, 0] if len(questions) else torch.empty(0, dtype=torch.int64)
