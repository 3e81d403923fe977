"""The Transformer of two halves: an encoder reads a source, and a decoder that sees it writes a text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import SourceCache
from manyheads.errors import UserError
from manyheads.model.attention import Context, CrossAttention, Source, attention_mask, compute_dtype, source_mask
from manyheads.model.block import CROSS_BLOCKS
from manyheads.model.checks import check_row
from manyheads.model.decoder_settings import check_encoder_decoder
from manyheads.model.encoder_layers import EncoderLayers, Parts, query_scale
from manyheads.model.initialization import Shape, initialize
from manyheads.model.plain import KNOWN, plain


class EncoderDecoder(nn.Module):
    """Token ids and those of a source to hidden states (Vaswani et al. 2017): each position of the text sees what came
    before it in its segment, and the whole source of its row.

    Args:
        vocab_size: V, of source and text together.
        dim: D, the width.
        num_encoder_layers: how many blocks read the source.
        num_layers: how many blocks read the text.
        num_heads: H attention heads, each dim / num_heads wide.
        num_kv_heads: G key/value heads; None for as many as there are heads.
        ff_dim: inner width of the feed-forward layers; None for 4 D, with SwiGLU for 8/3 D rounded up to a multiple of 64.
        activation: swiglu, geglu, gelu, gelu_tanh or relu.
        norm: rmsnorm or layernorm.
        norm_position: pre (with one more norm at the end of each half) or post.
        norm_eps: what norms add under the root.
        positions: rotary (in the attention of each text to itself), learned or relative (a table for each half), sinusoidal or
            none; relative as in T5 (Raffel et al. 2020, section 2.1).
        max_positions: the longest source, and the longest text; None for no limit. Learned positions need it.
        rotary_base: the base of rotary angles.
        relative_buckets: how many distances relative positions tell apart, half of them exactly.
        relative_distance: from where on relative positions tell no two distances apart.
        scale_scores: divides the scores of attention by sqrt(K); false as in T5, with init=t5.
        tie_embeddings: the head uses the embedding's weight, which both halves share in any case (Press and Wolf 2017,
            section 3.2: "three-way weight tying").
        scale_embeddings: multiplies embeddings by sqrt(D) (Vaswani et al. 2017, section 3.4).
        scale_states: multiplies the last states by 1 / sqrt(D), as T5 does where the head shares the embedding, whose vectors
            start sqrt(D) times as long as those of a matrix (its code; not T5 1.1).
        embedding_norm: a norm after the embeddings of each half (BART: Lewis et al. 2020, as released).
        bias: in linear layers and LayerNorm.
        dropout: on embeddings, attention weights and what each part of a block adds.
        init: gpt2, normal, neox, glorot, zero_residual or t5; see `initialization`.
        init_std: the standard deviation that gpt2, normal and zero_residual start from.

    Raises:
        UserError: for numbers that do not fit together, naming the nearest that do.
    """

    kind: ClassVar[str] = "encoder-decoder"
    reads_sources: ClassVar[bool] = True

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        num_encoder_layers: int = 4,
        num_layers: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        ff_dim: int | None = None,
        activation: Literal["swiglu", "geglu", "gelu", "gelu_tanh", "relu"] = "swiglu",
        norm: Literal["rmsnorm", "layernorm"] = "rmsnorm",
        norm_position: Literal["pre", "post"] = "pre",
        norm_eps: float = 1e-5,
        positions: Literal["rotary", "learned", "sinusoidal", "relative", "none"] = "rotary",
        max_positions: int | None = None,
        rotary_base: float = 10000.0,
        relative_buckets: int = 32,
        relative_distance: int = 128,
        scale_scores: bool = True,
        tie_embeddings: bool = True,
        scale_embeddings: bool = False,
        scale_states: bool = False,
        embedding_norm: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        init: Literal["gpt2", "normal", "neox", "glorot", "zero_residual", "t5"] = "gpt2",
        init_std: float = 0.02,
    ) -> None:
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        self.settings = check_encoder_decoder(settings)
        self.vocab_size = vocab_size
        self.dim = dim
        self.max_positions = max_positions
        self.embedding = nn.Embedding(vocab_size, dim)
        self.embedding_scale = dim**0.5 if scale_embeddings else 1.0
        self.state_scale = dim**-0.5 if scale_states else 1.0
        self.encoder = EncoderLayers(self.settings, num_encoder_layers)
        parts = Parts(self.settings)
        self.positions = parts.positions(both_ways=False)
        self.embedding_norm = parts.embedding_norm()
        self.dropout = dropout
        make_block = partial(CROSS_BLOCKS[norm_position], norm=parts.norm, dropout=dropout)
        self.blocks = nn.ModuleList(
            make_block(
                attention=parts.attention(),
                cross_attention=parts.attention(CrossAttention),
                feed_forward=parts.feed_forward(),
            )
            for _ in range(num_layers)
        )
        self.final_norm = parts.final_norm()
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew, as `init` says, each half by its own number of layers; biases become 0 and norms 1."""
        settings = self.settings
        shape = Shape(
            dim=self.dim,
            num_layers=settings["num_layers"],
            std=settings["init_std"],
            per_layer=3,
            query_scale=query_scale(settings),
        )
        initialize(self, settings["init"], shape)
        shape = shape._replace(num_layers=settings["num_encoder_layers"], per_layer=2)
        initialize(self.encoder, settings["init"], shape)

    def new_cache(self, batch_size: int, max_len: int) -> SourceCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return SourceCache(num_layers=len(self.blocks), batch_size=batch_size, max_len=max_len)

    def for_decoding(self) -> Callable[[Batch, SourceCache | None], Tensor]:
        """What computes the same as this module until its weights are replaced, in less time for short batches."""
        return plain(self, KNOWN | {EncoderDecoder})

    def forward(self, batch: Batch, cache: SourceCache | None = None) -> Tensor:
        """Hidden states [B, T, D] of `input_ids`, after the last norm.

        With a cache the batch continues what the cache holds, and is appended to it; the first one brings the sources.
        Raises UserError when a row or a source is longer than `max_positions`, or the sources are missing.
        """
        input_ids, positions = batch["input_ids"], batch.get("positions")
        num_new, start = input_ids.shape[1], 0 if cache is None else cache.length
        check_row(self.max_positions, start + num_new, positions)
        source = self._source(batch, cache)
        x = self.embedding_norm(self.positions.add(self._embedded(input_ids), positions, start))
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        bias = self.positions.bias(num_new, start + num_new, input_ids.device)
        mask, is_causal = attention_mask(batch, cache, compute_dtype(x), bias=bias)
        rotation = self.positions.rotation(positions, start, num_new, input_ids.device)
        context = Context(mask=mask, is_causal=is_causal, rotation=rotation, cache=cache, source=source)
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        if cache is not None:
            cache.advance(num_new)
        x = self.final_norm(x)
        return x if self.state_scale == 1.0 else x * self.state_scale

    def _source(self, batch: Batch, cache: SourceCache | None) -> Source:
        """What the encoder makes of the sources, or the note that the cache has it."""
        if cache is not None and cache.has_source:
            return Source(None, cache.source_mask)
        if "source_ids" not in batch:
            raise UserError(
                "the model is an encoder-decoder, and the batch has no sources to read: set a task that has them, or "
                "a model without an encoder, such as model=tiny."
            )
        ids, segments = batch["source_ids"], batch.get("source_segments")
        check_row(self.max_positions, ids.shape[1], what="source", key="the sources' length")
        embedded = self._embedded(ids)
        source = Source(self.encoder(embedded, segments), source_mask(segments, compute_dtype(embedded)))
        if cache is not None:
            cache.has_source, cache.source_mask = True, source.mask
        return source

    def _embedded(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids)
        return embedded if self.embedding_scale == 1.0 else embedded * self.embedding_scale
