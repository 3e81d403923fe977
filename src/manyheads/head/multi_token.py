"""Multi-token prediction: from one hidden state also the tokens after the next."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE


class Ahead(nn.Module):
    """h + silu(W h), [..., D] -> [..., D]: the hidden state from which a token further ahead is predicted.

    The objective is that of Gloeckle et al., "Better & Faster Large Language Models via Multi-token Prediction", 2024,
    section 2: parallel heads on one trunk, with one output matrix. Their heads are a Transformer layer each; this one sees
    its own position alone: the residual block of Cai et al., "Medusa", 2024, section 2.1.1, which starts at W = 0, so as
    the next token's prediction.
    """

    part: ClassVar[str] = "tokens ahead"

    only_in_training = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, dim))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + F.silu(F.linear(hidden, self.weight))


def labels_ahead(labels: Tensor, segments: Tensor | None, distance: int) -> Tensor:
    """The label `distance` positions further on, [B, T]; IGNORE where that lies beyond the row or the own segment.

    `labels` and `segments` are those of a Batch.
    """
    moved = torch.full_like(labels, IGNORE)
    moved[:, :-distance] = labels[:, distance:]
    if segments is not None:
        moved[:, :-distance].masked_fill_(segments[:, distance:] != segments[:, :-distance], IGNORE)
    return moved
