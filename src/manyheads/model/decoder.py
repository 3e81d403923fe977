"""The decoder-only Transformer, in the shapes from GPT-2 to Llama, Gemma and gpt-oss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import Cache, RereadingCache
from manyheads.head.base import Auxiliary
from manyheads.model.attention import Attention, Context, attention_mask, compute_dtype
from manyheads.model.block import BLOCKS
from manyheads.model.checks import check_row
from manyheads.model.decoder_settings import check_decoder
from manyheads.model.documents import lengths_of
from manyheads.model.feed_forward import ACTIVATIONS, FeedForward
from manyheads.model.initialization import Shape, initialize
from manyheads.model.mixture_of_experts import Balance, MixtureOfExperts
from manyheads.model.norm import NORMS
from manyheads.model.plain import KNOWN, plain
from manyheads.model.positions import POSITIONS
from manyheads.model.rotary_scaling import check_scaling


class Decoder(nn.Module):
    """Token ids to hidden states, each position seeing only itself and what came before it in its segment.

    Args:
        vocab_size: V.
        dim: D, the width.
        num_layers: how many blocks.
        num_heads: H attention heads, each dim / num_heads wide.
        num_kv_heads: G key/value heads, each shared by num_heads / num_kv_heads query heads (Ainslie et al. 2023);
            None for as many as there are heads.
        ff_dim: inner width of the feed-forward layers; None for 4 D, with SwiGLU for 8/3 D rounded up to a multiple of 64.
        activation: swiglu, geglu, gelu, gelu_tanh or relu.
        norm: rmsnorm or layernorm.
        norm_position: pre (with one more norm at the end) or post.
        block: sequential; parallel, attention and feed-forward side by side (GPT-NeoX: Black et al. 2022, section 2.1);
            or parallel_one_norm, the same behind one norm (GPT-J; PaLM: Chowdhery et al. 2022, section 2). The parallel
            ones have norm_position=pre.
        norm_eps: what norms add under the root.
        positions: rotary, learned, sinusoidal, alibi (Press et al. 2022) or none.
        max_positions: the longest row; None for no limit. Learned positions need it.
        rotary_base: the base of rotary angles (10000: Su et al. 2021).
        rotary_scaling: none; linear (Chen et al. 2023); dynamic, by the length of each row (NTK) or yarn (Peng et al. 2023);
            or llama3 (Llama 3.1): for rows longer than the network was trained on.
        rotary_factor: how many times longer; at least 1. Each rotary_scaling but none needs it.
        original_max_positions: positions before scaling; dynamic, yarn and llama3 need it.
        rotary_slow: pairs of features that make fewer turns over those positions are slowed by the whole factor; yarn and
            llama3, None for 1.
        rotary_fast: pairs that make more turns are left as they are; None for 32 (yarn), 4 (llama3).
        qk_norm: RMSNorm of each head's queries and keys before they are turned (Qwen3: Yang et al. 2025, section 2;
            Dehghani et al. 2023, section 2).
        window: how many positions are seen, itself included (Mistral: Jiang et al. 2023, section 2); None for all.
        full_every: every so many layers one sees all in spite of `window`, the last of each group (2 in Gemma 2, 6 in
            Gemma 3); None for no such layer.
        attention_softcap: c of c tanh(score / c) in attention (50 in Gemma 2: Gemma Team 2024, section 2); None for none.
            The one on the logits is the head's `softcap`.
        sinks: a learned logit per head that takes a share of the attention and gives nothing (gpt-oss: OpenAI 2025).
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017).
        scale_embeddings: multiplies embeddings by sqrt(D) (Vaswani et al. 2017, section 3.4).
        bias: in linear layers and LayerNorm.
        dropout: on embeddings, attention weights and what each half of a block adds.
        init: gpt2, normal, neox, glorot, zero_residual or t5; see `initialization`.
        init_std: the standard deviation that gpt2, normal and zero_residual start from.
        num_experts: E feed-forward layers in each block, of which a position uses few; None for a single one.
        experts_per_token: how many of them (2: Jiang et al. 2024, Mixtral, section 2.1; 1: Fedus et al. 2022, Switch).
        load_balance: what the loss for an uneven use of experts is multiplied by (0.01: Fedus et al. 2022, section 2.2).
            Logged without it as `train/load_balance`, the mean over layers: experts_per_token when all is even.
        router_z_loss: what the router's z-loss is multiplied by (Zoph et al. 2022, ST-MoE, section 3.2: 0.001).
        balance_over: batch: the load is balanced over each micro-batch of each device (Switch, Mixtral); row: over each
            row (DeepSeek-AI 2024, DeepSeek-V3, section 2.1.2), so that no result depends on how a batch is cut up.

    Raises:
        UserError: for numbers that do not fit together, naming the nearest that do.
    """

    kind: ClassVar[str] = "causal"

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        ff_dim: int | None = None,
        activation: Literal["swiglu", "geglu", "gelu", "gelu_tanh", "relu"] = "swiglu",
        norm: Literal["rmsnorm", "layernorm"] = "rmsnorm",
        norm_position: Literal["pre", "post"] = "pre",
        block: Literal["sequential", "parallel", "parallel_one_norm"] = "sequential",
        norm_eps: float = 1e-5,
        positions: Literal["rotary", "learned", "sinusoidal", "alibi", "none"] = "rotary",
        max_positions: int | None = None,
        rotary_base: float = 10000.0,
        rotary_scaling: Literal["none", "linear", "dynamic", "yarn", "llama3"] = "none",
        rotary_factor: float | None = None,
        original_max_positions: int | None = None,
        rotary_slow: float | None = None,
        rotary_fast: float | None = None,
        qk_norm: bool = False,
        window: int | None = None,
        full_every: int | None = None,
        attention_softcap: float | None = None,
        sinks: bool = False,
        tie_embeddings: bool = True,
        scale_embeddings: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        init: Literal["gpt2", "normal", "neox", "glorot", "zero_residual", "t5"] = "gpt2",
        init_std: float = 0.02,
        num_experts: int | None = None,
        experts_per_token: int = 2,
        load_balance: float = 0.01,
        router_z_loss: float = 0.0,
        balance_over: Literal["batch", "row"] = "batch",
    ) -> None:
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        self.settings = check_decoder(settings)
        self.vocab_size = vocab_size
        self.dim = dim
        self.max_positions = max_positions
        self.has_experts = num_experts is not None
        self.embedding = nn.Embedding(vocab_size, dim)
        self.embedding_scale = dim**0.5 if scale_embeddings else 1.0
        self.positions = POSITIONS[positions](
            dim=dim,
            head_dim=dim // num_heads,
            max_positions=max_positions,
            rotary_base=rotary_base,
            scaling=check_scaling(self.settings),
        )
        self.windows = [None if full_every and (i + 1) % full_every == 0 else window for i in range(num_layers)]
        # SDPA's own causal mask has no column for sinks, and there is none outside SDPA
        self.needs_mask = sinks or attention_softcap is not None
        self.dropout = dropout
        kv_heads = self.settings["num_kv_heads"]
        self.balance = Balance(experts_per_token, load_balance, router_z_loss, balance_over)
        make_norm = partial(NORMS[norm], dim, norm_eps, bias)
        make_attention = partial(
            Attention,
            dim=dim,
            num_heads=num_heads,
            num_kv_heads=kv_heads,
            bias=bias,
            dropout=dropout,
            qk_norm=norm_eps if qk_norm else None,
            softcap=attention_softcap,
            sinks=sinks,
        )
        self.blocks = nn.ModuleList(
            BLOCKS[block][norm_position](
                attention=make_attention(),
                feed_forward=_feed_forward(self.settings),
                norm=make_norm,
                dropout=dropout,
            )
            for _ in range(num_layers)
        )
        # a post-norm block ends with a norm already
        self.final_norm = {"pre": make_norm, "post": nn.Identity}[norm_position]()
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew, as `init` says; biases and sinks become 0 and norms 1."""
        settings = self.settings
        shape = Shape(dim=self.dim, num_layers=settings["num_layers"], std=settings["init_std"])
        initialize(self, settings["init"], shape)
        for module in self.modules():
            if isinstance(module, Attention) and module.sinks is not None:
                nn.init.zeros_(module.sinks)

    def new_cache(self, batch_size: int, max_len: int) -> Cache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        scaling = self.positions.scaling
        if scaling.grows:
            return RereadingCache(
                num_layers=len(self.blocks), batch_size=batch_size, max_len=max_len, until=scaling.original
            )
        return Cache(num_layers=len(self.blocks), batch_size=batch_size, max_len=max_len)

    def for_decoding(self) -> Callable[[Batch, Cache | None], Tensor]:
        """What computes the same as this module until its weights are replaced, in less time for short batches."""
        return plain(self, KNOWN | {Decoder})

    def forward(self, batch: Batch, cache: Cache | None = None) -> Tensor:
        """Hidden states [B, T, D], after the last norm.

        With a cache the batch continues what the cache holds, and is appended to it.
        Raises UserError when a row is longer than `max_positions`.
        """
        input_ids, positions = batch["input_ids"], batch.get("positions")
        num_new, start = input_ids.shape[1], 0 if cache is None else cache.length
        check_row(self.max_positions, start + num_new, positions)
        if cache is not None and (whole := cache.whole(batch)) is not None:
            cache.advance(num_new)
            return self(whole)[:, -num_new:]
        x = self.embedding(input_ids)
        if self.embedding_scale != 1.0:
            x = x * self.embedding_scale
        x = self.positions.add(x, positions, start)
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        contexts = self._contexts(batch, cache, compute_dtype(x))
        if self.training and torch.is_grad_enabled():
            for mixture in self._mixtures():
                mixture.expect()
        for layer, (block, window) in enumerate(zip(self.blocks, self.windows, strict=True)):
            x = block(x, contexts[window], layer)
        if cache is not None:
            cache.advance(num_new)
        return self.final_norm(x)

    def auxiliary_losses(self, batch: Batch) -> Auxiliary | None:
        """What training adds to the loss of the batch that was just read, in training mode; None without experts."""
        mixtures = self._mixtures()
        return self.balance.losses(mixtures, batch) if mixtures else None

    def _mixtures(self) -> list[MixtureOfExperts]:
        return [module for module in self.modules() if isinstance(module, MixtureOfExperts)] if self.has_experts else []

    def _contexts(self, batch: Batch, cache: Cache | None, dtype: torch.dtype) -> dict[int | None, Context]:
        """What the layers of each window share."""
        num_new, device = batch["input_ids"].shape[1], batch["input_ids"].device
        start = 0 if cache is None else cache.length
        rotation = self.positions.rotation(batch.get("positions"), start, num_new, device)
        bias = self.positions.bias(num_new, start + num_new, device)
        contexts: dict[int | None, Context] = {}
        for window in dict.fromkeys(self.windows):
            if cache is None and window is None and bias is None and (documents := self._documents(batch)) is not None:
                contexts[window] = Context(
                    mask=None, is_causal=False, rotation=rotation, cache=None, documents=documents
                )
                continue
            mask, is_causal = attention_mask(batch, cache, dtype, window=window, bias=bias, explicit=self.needs_mask)
            contexts[window] = Context(mask=mask, is_causal=is_causal, rotation=rotation, cache=cache)
        return contexts

    def _documents(self, batch: Batch) -> list[int] | None:
        """The packed documents to be read one by one; None for a mask, which sinks and a softcap need, and compiled blocks,
        which would be compiled anew for each batch."""
        compiled = torch.compiler.is_compiling() or any(
            getattr(block, "_compiled_call_impl", 0) for block in self.blocks
        )
        return None if self.needs_mask or compiled else lengths_of(batch)


def _feed_forward(settings: dict[str, Any]) -> nn.Module:
    """A block's feed-forward layer, or its mixture of them."""
    layer: dict[str, Any] = {key: settings[key] for key in ("dim", "ff_dim", "bias")}
    layer["activation"] = ACTIVATIONS[settings["activation"]]
    if settings["num_experts"] is None:
        return FeedForward(**layer)
    return MixtureOfExperts(
        **layer, num_experts=settings["num_experts"], experts_per_token=settings["experts_per_token"]
    )
