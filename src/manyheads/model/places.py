"""Where a token stands in its segment."""

from __future__ import annotations

import torch
from torch import Tensor

from manyheads.batch import Batch


def places(batch: Batch, read: int = 0) -> Tensor:
    """How many tokens of its segment stand before each token, [B, T] or [T], after `read` ones of a single segment."""
    positions, segments, ids = batch.get("positions"), batch.get("segments"), batch["input_ids"]
    if positions is not None:
        return positions
    found = torch.arange(ids.shape[1], device=ids.device)
    if segments is None:
        return found + read
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return found - torch.where(begins, found, 0).cummax(1).values
