"""Attention within each document of packed rows: a call of SDPA for each, and no mask of whole rows, where that is faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from manyheads.batch import Batch

SHORTEST_ROW = 512
"""Tokens from which on a row is read document by document. A step of the default network then takes 1.01 of the mask's time
at 128, 1.09 at 256, 0.95 at 512 and 0.49 at 2,048 (`python -m benchmarks packed_attention`)."""

SHORTEST_DOCUMENTS = 16
"""Their mean length from which on it was measured: with documents of 16 tokens in rows of 512 it is 0.95 too."""


def lengths_of(batch: Batch) -> list[int] | None:
    """How long the documents of a packed batch are, its rows one after the other, padding as a document of its own in each;
    None where a mask is faster, and on other devices than the CPU, where it was not measured.

    The positions of a segment stand together in their row.
    """
    segments = batch.get("segments")
    # what only stands in for a tensor, when memory is planned, has no numbers
    if type(segments) is not Tensor or segments.device.type != "cpu" or segments.shape[1] < SHORTEST_ROW:
        return None
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    places = starts.flatten().nonzero()[:, 0]
    if segments.numel() < SHORTEST_DOCUMENTS * len(places):
        return None
    return places.diff(append=places.new_tensor([segments.numel()])).tolist()


def attend_within(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], *, dropout: float, grouped: bool
) -> Tensor:
    """Causal attention within each document, [B, H, T, K], [B, G, T, K] twice -> [B, H, T, K]: what the mask gives.

    Dropout falls on as large a share of the weights as under the mask, drawn document by document: on other ones.
    """
    each = [x.transpose(1, 2).flatten(0, 1).split_with_sizes(lengths) for x in (query, key, value)]  # [L, H or G, K]
    mixed = [
        F.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in parts), dropout_p=dropout, is_causal=True, enable_gqa=grouped
        )
        for parts in zip(*each, strict=True)
    ]  # [1, H, L, K]
    together = torch.cat([part[0].transpose(0, 1) for part in mixed])  # [B * T, H, K]
    return together.unflatten(0, (query.shape[0], query.shape[2])).transpose(1, 2)
