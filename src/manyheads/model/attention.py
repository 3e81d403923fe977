"""Multi-head attention with grouped keys and values, through torch's scaled_dot_product_attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import Cache, causal_mask
from manyheads.model.positions import Rotation


class Context(NamedTuple):
    """What every layer of one forward pass shares."""

    mask: Tensor | None  # [B, 1, T, S] or [T, S], added to the scores: 0 where a key is seen, -inf elsewhere
    is_causal: bool  # the plain causal mask, left to SDPA; then `mask` is None
    rotation: Rotation | None
    cache: Cache | None


def attention_mask(batch: Batch, cache: Cache | None, dtype: torch.dtype) -> tuple[Tensor | None, bool]:
    """The mask of one forward pass, made once for all layers, and whether SDPA's own causal mask says the same."""
    num_new, device = batch["input_ids"].shape[1], batch["input_ids"].device
    segments, start = batch.get("segments"), 0
    if cache is not None:
        segments, start = cache.segments(segments, num_new), cache.length
    if segments is None and start == 0:
        return None, num_new > 1
    allowed = causal_mask(segments, num_new, start + num_new, device)
    if allowed is None:
        return None, False
    # a mask of numbers: SDPA would turn a mask of bools into one in every layer
    return torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, float("-inf")), False


class Attention(nn.Module):
    """softmax(q k^T / sqrt(K)) v per head (Vaswani et al. 2017, section 3.2), G groups of heads sharing keys and values
    (Ainslie et al. 2023); [B, T, D] -> [B, T, D]."""

    def __init__(self, *, dim: int, num_heads: int, num_kv_heads: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.dropout = dropout
        self.grouped = num_kv_heads != num_heads
        self.query = nn.Linear(dim, num_heads * self.head_dim, bias=bias)
        self.key = nn.Linear(dim, num_kv_heads * self.head_dim, bias=bias)
        self.value = nn.Linear(dim, num_kv_heads * self.head_dim, bias=bias)
        self.output = nn.Linear(num_heads * self.head_dim, dim, bias=bias)

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        """What each position of `x` [B, T, D] gathers from those it may see, [B, T, D]; `layer` is its place in the cache."""
        query = self.query(x).unflatten(-1, (-1, self.head_dim))  # [B, T, H, K]
        key = self.key(x).unflatten(-1, (-1, self.head_dim))  # [B, T, G, K]
        value = self.value(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, G, T, K]
        if context.rotation is not None:
            query, key = context.rotation.rotate(query), context.rotation.rotate(key)
        query, key = query.transpose(1, 2), key.transpose(1, 2)
        if context.cache is not None:
            key, value = context.cache.update(layer, key, value)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=context.mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=context.is_causal,
            enable_gqa=self.grouped,
        )  # [B, H, T, K]
        return self.output(mixed.transpose(1, 2).flatten(-2))

    def mixing_flops(self, seq_len: int) -> int:
        """FLOPs of one token besides the products with weights: its query with all keys of a row of `seq_len`, and their
        softmax with all values, 2 K each, in H heads (Chowdhery et al. 2022, appendix B)."""
        return 4 * self.output.in_features * seq_len
