"""The decoder-only Transformer, in the shapes from GPT-2 to Llama."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import Cache
from manyheads.errors import UserError, check_choice, check_count
from manyheads.head.base import Auxiliary
from manyheads.model.attention import Attention, Context, attention_mask
from manyheads.model.block import BLOCKS
from manyheads.model.checks import check_divides, check_fraction, check_positive
from manyheads.model.feed_forward import ACTIVATIONS, FeedForward
from manyheads.model.initialization import INITIALIZATIONS, Shape
from manyheads.model.mixture_of_experts import Balance, MixtureOfExperts, check_experts
from manyheads.model.norm import NORMS
from manyheads.model.positions import POSITIONS


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
        activation: swiglu, gelu, gelu_tanh or relu.
        norm: rmsnorm or layernorm.
        norm_position: pre (with one more norm at the end) or post.
        norm_eps: what norms add under the root.
        positions: rotary, learned, sinusoidal or none.
        max_positions: the longest row; None for no limit. Learned positions need it.
        rotary_base: the base of rotary angles (10000: Su et al. 2021).
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017).
        scale_embeddings: multiplies embeddings by sqrt(D) (Vaswani et al. 2017, section 3.4).
        bias: in linear layers and LayerNorm.
        dropout: on embeddings, attention weights and what each half of a block adds.
        init: gpt2, normal, neox, glorot or zero_residual; see `initialization`.
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
        activation: Literal["swiglu", "gelu", "gelu_tanh", "relu"] = "swiglu",
        norm: Literal["rmsnorm", "layernorm"] = "rmsnorm",
        norm_position: Literal["pre", "post"] = "pre",
        norm_eps: float = 1e-5,
        positions: Literal["rotary", "learned", "sinusoidal", "none"] = "rotary",
        max_positions: int | None = None,
        rotary_base: float = 10000.0,
        tie_embeddings: bool = True,
        scale_embeddings: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        init: Literal["gpt2", "normal", "neox", "glorot", "zero_residual"] = "gpt2",
        init_std: float = 0.02,
        num_experts: int | None = None,
        experts_per_token: int = 2,
        load_balance: float = 0.01,
        router_z_loss: float = 0.0,
        balance_over: Literal["batch", "row"] = "batch",
    ) -> None:
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        self.settings = _checked(settings)
        self.vocab_size = vocab_size
        self.dim = dim
        self.max_positions = max_positions
        self.has_experts = num_experts is not None
        self.embedding = nn.Embedding(vocab_size, dim)
        self.embedding_scale = dim**0.5 if scale_embeddings else 1.0
        self.positions = POSITIONS[positions](
            dim=dim, head_dim=dim // num_heads, max_positions=max_positions, rotary_base=rotary_base
        )
        self.dropout = nn.Dropout(dropout)
        kv_heads = self.settings["num_kv_heads"]
        self.balance = Balance(experts_per_token, load_balance, router_z_loss, balance_over)
        make_norm = partial(NORMS[norm], dim, norm_eps, bias)
        self.blocks = nn.ModuleList(
            BLOCKS[norm_position](
                attention=Attention(dim=dim, num_heads=num_heads, num_kv_heads=kv_heads, bias=bias, dropout=dropout),
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
        """Draws all weights anew, as `init` says; biases become 0 and norms 1."""
        settings = self.settings
        draw = INITIALIZATIONS[settings["init"]]
        shape = Shape(dim=self.dim, num_layers=settings["num_layers"], std=settings["init_std"])
        with torch.no_grad():
            for name, module in self.named_modules():
                if isinstance(module, nn.Linear | nn.Embedding):
                    draw(module.weight, shape, residual=name.endswith(("attention.output", ".down")))
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def new_cache(self, batch_size: int, max_len: int) -> Cache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return Cache(num_layers=len(self.blocks), batch_size=batch_size, max_len=max_len)

    def forward(self, batch: Batch, cache: Cache | None = None) -> Tensor:
        """Hidden states [B, T, D], after the last norm.

        With a cache the batch continues what the cache holds, and is appended to it.
        Raises UserError when a row is longer than `max_positions`.
        """
        input_ids, positions = batch["input_ids"], batch.get("positions")
        num_new, start = input_ids.shape[1], 0 if cache is None else cache.length
        self._check_length(start + num_new, positions)
        x = self.embedding(input_ids)
        if self.embedding_scale != 1.0:
            x = x * self.embedding_scale
        x = self.dropout(self.positions.add(x, positions, start))
        mask, is_causal = attention_mask(batch, cache, _compute_dtype(x))
        rotation = self.positions.rotation(positions, start, num_new, x.device)
        context = Context(mask=mask, is_causal=is_causal, rotation=rotation, cache=cache)
        if self.training and torch.is_grad_enabled():
            for mixture in self._mixtures():
                mixture.expect()
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        if cache is not None:
            cache.advance(num_new)
        return self.final_norm(x)

    def auxiliary_losses(self, batch: Batch) -> Auxiliary | None:
        """What training adds to the loss of the batch that was just read, in training mode; None without experts."""
        mixtures = self._mixtures()
        return self.balance.losses(mixtures, batch) if mixtures else None

    def _mixtures(self) -> list[MixtureOfExperts]:
        return [module for module in self.modules() if isinstance(module, MixtureOfExperts)] if self.has_experts else []

    def _check_length(self, end: int, positions: Tensor | None) -> None:
        # rows with positions of their own may be padded on the left, so their length says nothing
        if self.max_positions is not None and positions is None and end > self.max_positions:
            raise UserError(
                f"model.max_positions={self.max_positions} is less than a row of {end} tokens: "
                f"set task.seq_len to at most {self.max_positions}, or train a model with more positions."
            )


def _feed_forward(settings: dict[str, Any]) -> nn.Module:
    """A block's feed-forward layer, or its mixture of them."""
    layer: dict[str, Any] = {key: settings[key] for key in ("dim", "ff_dim", "bias")}
    layer["activation"] = ACTIVATIONS[settings["activation"]]
    if settings["num_experts"] is None:
        return FeedForward(**layer)
    return MixtureOfExperts(
        **layer, num_experts=settings["num_experts"], experts_per_token=settings["experts_per_token"]
    )


def _compute_dtype(x: Tensor) -> torch.dtype:
    """The precision that queries and keys will have."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the derived ones filled in; raises UserError for those that do not fit together."""
    for key in ("vocab_size", "dim", "num_layers", "num_heads", "num_kv_heads", "ff_dim", "max_positions"):
        if settings[key] is not None or key in ("vocab_size", "dim", "num_layers", "num_heads"):
            check_count(f"model.{key}", settings[key])
    choices = {
        "activation": ACTIVATIONS,
        "norm": NORMS,
        "norm_position": BLOCKS,
        "positions": POSITIONS,
        "init": INITIALIZATIONS,
    }
    for key, names in choices.items():
        check_choice(f"model.{key}", settings[key], names)
    check_fraction("model.dropout", settings["dropout"])
    for key in ("norm_eps", "rotary_base", "init_std"):
        check_positive(f"model.{key}", settings[key])
    factors = {key: settings[key] for key in ("load_balance", "router_z_loss")}
    check_experts(settings["num_experts"], settings["experts_per_token"], factors, settings["balance_over"])
    kv_heads = settings["num_kv_heads"] or settings["num_heads"]
    check_divides("model.dim", settings["dim"], "model.num_heads", settings["num_heads"])
    check_divides("model.num_heads", settings["num_heads"], "model.num_kv_heads", kv_heads)
    ff_dim = settings["ff_dim"] or ACTIVATIONS[settings["activation"]].default_width(settings["dim"])
    return {**settings, "num_kv_heads": kv_heads, "ff_dim": ff_dim}
