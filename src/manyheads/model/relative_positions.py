"""Positions as T5 knows them: a learned number for how far away a key is, added to its score."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from manyheads.model.positions import Positions


@final
class RelativePositions(Positions):
    """A learned number for each head and each bucket of distances, one table for all layers (Raffel et al. 2020, section 2.1).

    Half of the buckets hold one distance each, from 0 on; the others widen with the logarithm of the distance up to
    `distance`, and the last one has all that is farther (`_relative_position_bucket` of Mesh TensorFlow's
    transformer_layers.py, with which T5 was trained). What reads both ways has half of all buckets for keys ahead.

    Args:
        both_ways: whether keys ahead are seen too; else they fall into the bucket of distance 0.
        buckets: how many numbers a head has (32 there).
        distance: from where on all distances are alike (128 there).
        settings: see `Positions`.
    """

    def __init__(self, *, both_ways: bool, buckets: int, distance: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.both_ways = both_ways
        self.distance = distance
        self.table = nn.Embedding(buckets, self.dim // self.head_dim)

    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        return embedded

    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> None:
        return None

    def bias(self, num_new: int, num_keys: int, device: torch.device) -> Tensor:
        # as for ALiBi, distances of columns are those of positions within a segment. Each is looked up once, and a query
        # takes its window of them: [S + T - 1, H] -> [H, T, S]
        ahead = torch.arange(1 - num_keys, num_new, device=device)
        numbers = self.table(self.bucket(ahead)).t()
        return numbers.unfold(1, num_keys, 1).flip(1).unsqueeze(0)

    def bucket(self, ahead: Tensor) -> Tensor:
        """Which bucket a key is in that stands so many positions ahead of its query, [...] int64, below 0 behind it."""
        buckets = self.table.weight.shape[0]
        first = torch.zeros_like(ahead)
        if self.both_ways:
            buckets //= 2
            first = (ahead > 0) * buckets
            away = ahead.abs()
        else:
            away = (-ahead).clamp(min=0)
        exact = buckets // 2
        share = (away.clamp(min=1).float() / exact).log() / math.log(self.distance / exact)  # of the way to `distance`
        wide = exact + (share * (buckets - exact)).long()
        return first + torch.where(away < exact, away, wide.clamp(max=buckets - 1))
