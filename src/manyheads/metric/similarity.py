"""Whether word vectors find those words alike that people do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch

from manyheads.metric.output import OutputMetric


@final
class Similarity(OutputMetric):
    """Spearman's rank correlation of cosines (outputs) with people's scores (targets), ties at the mean of their ranks; nan of
    less than two pairs, or where all are equal.

    Source: Spearman 1904; of pairs of words: Finkelstein et al. 2002, WordSim-353.
    """

    name = "similarity"
    unit = "rank correlation"
    higher_is_better = True

    def score(self, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
        if len(outputs) < 2:
            return math.nan
        ranks = torch.stack([_ranks(torch.tensor(values, dtype=torch.float64)) for values in (outputs, targets)])
        found = ranks - ranks.mean(1, keepdim=True)
        below = found.square().sum(1).prod().sqrt()
        return float(found.prod(0).sum() / below) if below else math.nan


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """[N] from 1 on, equal values sharing the mean of theirs."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts - 1) / 2).double()[place]
