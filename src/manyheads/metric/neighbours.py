"""The words that are nearest to others, by the cosine of their vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 256
"""Rows that are held against all words together: it bounds the memory, and no result depends on it."""


def unit(vectors: Tensor) -> Tensor:
    """[..., D] each with length 1, but one of zeros."""
    return F.normalize(vectors, dim=-1)


def nearest(vectors: Tensor, asked: Tensor, *, among: Tensor, without: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` words of `among` [M] with the largest cosine to each of [N, D] vectors, and the cosines: [N, count] each,
    the nearest first, fewer where there are fewer; `without` [N, E] names words of each row that are left out."""
    units, place = unit(vectors[among]), torch.full((len(vectors),), len(among))
    place[among] = torch.arange(len(among))  # of words that are none of them: a column that is dropped
    count = min(count, len(among))
    found = []
    for rows, left_out in zip(unit(asked).split(AT_ONCE), place[without].split(AT_ONCE), strict=True):
        cosines = torch.cat([rows @ units.T, rows.new_zeros(len(rows), 1)], 1)
        cosines = cosines.scatter(1, left_out, -torch.inf)[:, :-1]
        found.append(cosines.topk(count))
    if not found:
        return torch.empty(0, count, dtype=torch.int64), torch.empty(0, count)
    return among[torch.cat([part.indices for part in found])], torch.cat([part.values for part in found])
