"""Multi-head attention with grouped keys and values, through torch's scaled_dot_product_attention: to the row itself, or to
what an encoder made of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import Cache, SourceCache, causal_mask
from manyheads.model.documents import attend_within
from manyheads.model.norm import RMSNorm
from manyheads.model.positions import Rotation


class Source(NamedTuple):
    """What the layers of a decoder see of the encoder."""

    states: Tensor | None  # [B, S, D]; None where the cache has made keys and values of them
    mask: Tensor | None  # [B, 1, 1, S], added to the scores


class Context(NamedTuple):
    """What every layer of one forward pass shares."""

    mask: Tensor | None  # [B, 1, T, S] or [T, S], added to the scores: 0 where a key is seen, -inf elsewhere
    is_causal: bool  # the plain causal mask, left to SDPA; then `mask` is None
    rotation: Rotation | None
    cache: Cache | None
    source: Source | None = None
    documents: Sequence[int] | None = None  # the lengths of packed documents to be read one by one; then `mask` is None


def attention_mask(
    batch: Batch,
    cache: Cache | None,
    dtype: torch.dtype,
    *,
    window: int | None = None,
    bias: Tensor | None = None,
    explicit: bool = False,
) -> tuple[Tensor | None, bool]:
    """The mask of one forward pass, made once for all layers of one window, and whether SDPA's own causal mask says the
    same (never when an `explicit` one is asked for).

    Args:
        batch, cache: what is read and what was read before.
        dtype: of queries and keys.
        window: how many positions are seen, itself included; None for all.
        bias: [1, H, T, S], added to the scores.
    """
    num_new, device = batch["input_ids"].shape[1], batch["input_ids"].device
    segments, start = batch.get("segments"), 0
    if cache is not None:
        segments, start = cache.segments(segments, num_new), cache.length
    narrow = window is not None and window < start + num_new
    if segments is None and start == 0 and bias is None and not narrow and not explicit:
        return None, num_new > 1
    allowed = causal_mask(segments, num_new, start + num_new, device, window)
    if allowed is None:
        return None if bias is None else bias.to(dtype), False
    if bias is None:
        return _numbers(allowed, dtype), False
    return bias.to(dtype).masked_fill(~allowed, float("-inf")), False


def mutual_mask(segments: Tensor | None, dtype: torch.dtype, bias: Tensor | None = None) -> Tensor | None:
    """The mask of attention in both directions, [B, 1, S, S]: each position sees its whole segment [B, S], and padding sees
    padding, so that no row is empty. None when every row is one segment. A `bias` [1, H, S, S] is added to the scores."""
    if segments is None:
        return None if bias is None else bias.to(dtype)
    same = segments[:, None, :, None] == segments[:, None, None, :]
    return _numbers(same, dtype) if bias is None else bias.to(dtype).masked_fill(~same, float("-inf"))


def source_mask(segments: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The mask of attention to a source, [B, 1, 1, S]: its tokens are seen and its padding (segments [B, S] of 0) is not; of
    a source without any token the padding is, since a softmax over nothing has no value. None without padding."""
    if segments is None:
        return None
    tokens = segments > 0
    return _numbers((tokens | ~tokens.any(-1, keepdim=True))[:, None, None], dtype)


def compute_dtype(x: Tensor) -> torch.dtype:
    """The precision that the queries and keys of `x` will have."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _numbers(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be seen and -inf elsewhere: SDPA would turn a mask of bools into that in every layer."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))


class Attention(nn.Module):
    """softmax(q k^T / sqrt(K)) v per head (Vaswani et al. 2017, section 3.2), G groups of heads sharing keys and values
    (Ainslie et al. 2023); [B, T, D] -> [B, T, D].

    Args:
        qk_norm: RMSNorm of each head's queries and keys, before they are turned; its eps, or None for no norm.
        softcap: c of c tanh(score / c), or None.
        sinks: a learned logit per head that takes a share of the softmax and gives no value.
        scaled: whether scores are divided by sqrt(K), which T5 leaves to how queries start (Raffel et al. 2020: its models'
            code; `t5` in `initialization`).
    """

    part: ClassVar[str] = "attention"

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        num_kv_heads: int,
        bias: bool,
        dropout: float,
        qk_norm: float | None = None,
        softcap: float | None = None,
        sinks: bool = False,
        scaled: bool = True,
    ) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.dropout = dropout
        self.grouped = num_kv_heads != num_heads
        self.query = nn.Linear(dim, num_heads * self.head_dim, bias=bias)
        self.key = nn.Linear(dim, num_kv_heads * self.head_dim, bias=bias)
        self.value = nn.Linear(dim, num_kv_heads * self.head_dim, bias=bias)
        self.output = nn.Linear(num_heads * self.head_dim, dim, bias=bias)
        self.query_norm = None if qk_norm is None else RMSNorm(self.head_dim, eps=qk_norm)
        self.key_norm = None if qk_norm is None else RMSNorm(self.head_dim, eps=qk_norm)
        self.softcap = softcap
        self.scale = None if scaled else 1.0  # None: 1 / sqrt(K)
        self.sinks = nn.Parameter(torch.zeros(num_heads)) if sinks else None

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        """What each position of `x` [B, T, D] gathers from those it may see, [B, T, D]; `layer` is its place in the cache."""
        query = self.query(x).unflatten(-1, (-1, self.head_dim))  # [B, T, H, K]
        key = self.key(x).unflatten(-1, (-1, self.head_dim))  # [B, T, G, K]
        value = self.value(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, G, T, K]
        if self.query_norm is not None and self.key_norm is not None:
            # under autocast the norms' weights are float32, and a norm of two precisions is a slow one
            wide = self.query_norm.weight.dtype
            query = self.query_norm(query.to(wide)).to(value.dtype)
            key = self.key_norm(key.to(wide)).to(value.dtype)
        if context.rotation is not None:
            query, key = context.rotation.rotate(query), context.rotation.rotate(key)
        return self.attend(query.transpose(1, 2), key.transpose(1, 2), value, context, layer)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context, layer: int) -> Tensor:
        """What the new positions gather, [B, T, D], given their queries [B, H, T, K], and keys and values [B, G, T, K]."""
        if context.cache is not None:
            key, value = context.cache.update(layer, key, value)
        if context.documents is not None:
            dropout = self.dropout if self.training else 0.0
            mixed = attend_within(query, key, value, context.documents, dropout=dropout, grouped=self.grouped)
        else:
            mixed = self._mix(query, key, value, context.mask, context.is_causal)  # [B, H, T, K]
        return self.output(mixed.transpose(1, 2).flatten(-2))

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        """The values [B, G, S, K] weighted for each query [B, H, T, K]."""
        dropout = self.dropout if self.training else 0.0
        if self.sinks is not None:
            # one more key and value of zeros, whose score is the sink's logit
            mask = _with_sinks(mask, self.sinks.to(query.dtype), query.shape[2], key.shape[2])
            key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
        if self.softcap is not None:
            return capped_attention(query, key, value, mask, softcap=self.softcap, dropout=dropout, scale=self.scale)
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=is_causal,
            scale=self.scale,
            enable_gqa=self.grouped,
        )

    def further_flops(self, seq_len: int, training: bool) -> int:
        """FLOPs of one token besides the products with weights: its query with all keys of a row of `seq_len`, and their
        softmax with all values, 2 K each, in H heads (Chowdhery et al. 2022, appendix B). Sinks are one key more."""
        return 4 * self.output.in_features * (seq_len + (self.sinks is not None))


class CrossAttention(Attention):
    """The same with queries of the row, and keys and values of the encoder's states (Vaswani et al. 2017, section 3.2.3);
    [B, T, D] -> [B, T, D]. Nothing is turned: the places of two texts have no distance."""

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        """What each position of `x` [B, T, D] gathers from `context.source`; `layer` is its place in the cache."""
        source, cache = context.source, context.cache
        assert source is not None
        query = self.query(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, H, T, K]
        if source.states is None:
            assert isinstance(cache, SourceCache)
            key, value = cache.of_source(layer)
        else:
            key = self.key(source.states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, G, S, K]
            value = self.value(source.states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            if isinstance(cache, SourceCache):
                cache.keep_source(layer, key, value)
        mixed = self._mix(query, key, value, source.mask, False)
        return self.output(mixed.transpose(1, 2).flatten(-2))


def capped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    softcap: float,
    dropout: float,
    scale: float | None = None,
) -> Tensor:
    """Attention with c tanh(score / c) in the scores' place (Gemma 2: Gemma Team 2024, section 2), which SDPA cannot do;
    [B, H, T, K], [B, G, S, K] twice -> [B, H, T, K]. The softmax is computed in float32 at least; `scale` None is 1 / sqrt(K)."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)  # [B, H, T, S]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask
    return F.dropout(scores.softmax(-1).to(value.dtype), dropout) @ value


def _with_sinks(mask: Tensor | None, sinks: Tensor, num_new: int, num_keys: int) -> Tensor:
    """The mask [B, H, T, S + 1] with the sinks' logits [H] as the last key's scores (gpt-oss: OpenAI 2025,
    model card, "Architecture"; a logit of 0 is the softmax plus one of Miller 2023, "Attention is off by one")."""
    if mask is None:
        mask = sinks.new_zeros(num_new, num_keys)
    mask = mask.view(*(1,) * (4 - mask.ndim), *mask.shape)
    column = sinks.view(1, -1, 1, 1).expand(mask.shape[0], -1, num_new, 1)
    return torch.cat((mask.expand(-1, len(sinks), -1, -1), column), -1)
