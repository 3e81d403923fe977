"""A decoder whose layers keep a state of one size: gated linear attention in the place of attention."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import StateCache
from manyheads.errors import check_count
from manyheads.model.block import PreNormBlock
from manyheads.model.carried import Carried
from manyheads.model.decoder_settings import check_transformer
from manyheads.model.feed_forward import ACTIVATIONS, FeedForward
from manyheads.model.gated_linear_attention import GatedLinearAttention, Run
from manyheads.model.initialization import Shape, initialize
from manyheads.model.norm import NORMS
from manyheads.model.places import places


@final
class LinearAttention(nn.Module):
    """Token ids to hidden states through blocks of `GatedLinearAttention` and a feed-forward layer, a norm before each. Time and
    memory grow with a text as it does; decoding keeps D * D / H numbers for each layer, however long the text.

    Args:
        vocab_size: V.
        dim: D, the width.
        num_layers: how many blocks.
        num_heads: H heads, each dim / num_heads wide.
        ff_dim: inner width of the feed-forward layers; None for 4 D, with SwiGLU for 8/3 D rounded up to a multiple of 64.
        activation: swiglu, geglu, gelu, gelu_tanh or relu.
        norm: rmsnorm or layernorm.
        norm_eps: what norms add under the root.
        chunk: positions that are read at once; it changes nothing but the time.
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017).
        bias: in the linear layers of the feed-forward part and in LayerNorm.
        dropout: on embeddings and on what each half of a block adds.
        init: gpt2, normal, neox, glorot, zero_residual or t5; see `initialization`.
        init_std: the standard deviation that gpt2, normal and zero_residual start from.

    Raises:
        UserError: for numbers that do not fit together, naming the nearest that do.
    """

    kind: ClassVar[str] = "causal"
    carries: ClassVar[bool] = True
    max_positions: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        ff_dim: int | None = None,
        activation: Literal["swiglu", "geglu", "gelu", "gelu_tanh", "relu"] = "swiglu",
        norm: Literal["rmsnorm", "layernorm"] = "rmsnorm",
        norm_eps: float = 1e-5,
        chunk: int = 64,
        tie_embeddings: bool = True,
        bias: bool = False,
        dropout: float = 0.0,
        init: Literal["gpt2", "normal", "neox", "glorot", "zero_residual", "t5"] = "gpt2",
        init_std: float = 0.02,
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        check_count("model.chunk", chunk)
        same = {
            "num_kv_heads": None,
            "max_positions": None,
            "positions": "none",
            "norm_position": "pre",
            "rotary_base": 1.0,
        }
        filled = check_transformer(settings | same)
        self.settings = settings | {"ff_dim": filled["ff_dim"]}
        self.vocab_size = vocab_size
        self.dim = dim
        self.dropout = dropout
        self.carried = Carried()
        self.embedding = nn.Embedding(vocab_size, dim)
        make_norm = partial(NORMS[norm], dim, norm_eps, bias)
        self.blocks = nn.ModuleList(
            PreNormBlock(
                attention=GatedLinearAttention(dim=dim, num_heads=num_heads, eps=norm_eps, chunk=chunk),
                feed_forward=FeedForward(
                    dim=dim, ff_dim=self.settings["ff_dim"], activation=ACTIVATIONS[activation], bias=bias
                ),
                norm=make_norm,
                dropout=dropout,
            )
            for _ in range(num_layers)
        )
        self.final_norm = make_norm()
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew, as `init` says; biases become 0, but for those of the decays, and norms 1."""
        settings = self.settings
        shape = Shape(dim=self.dim, num_layers=settings["num_layers"], std=settings["init_std"])
        initialize(self, settings["init"], shape)
        for module in self.modules():
            if isinstance(module, GatedLinearAttention):
                module.spread_decay()

    def new_cache(self, batch_size: int, max_len: int) -> StateCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return StateCache(batch_size=batch_size, max_len=max_len)

    def forward(self, batch: Batch, cache: StateCache | None = None) -> Tensor:
        """Hidden states [B, T, D], after the last norm. With a cache the batch goes on from the states that it holds; so
        does a batch with `lanes` from those of its lanes, where positions do not begin at 0."""
        ids = batch["input_ids"]
        kept = cache or self.carried.of(batch, self.training)
        before = places(batch, 0 if cache is None else cache.length)
        begins = torch.arange(ids.shape[1], device=ids.device) - before
        run = Run(
            begins=begins if begins.ndim > 1 else begins[None],
            before=None if kept is None or kept.states is None else kept.states[0],
            after=[],
            cache=cache,
        )
        x = self.embedding(ids)
        x = F.dropout(x, self.dropout) if self.training and self.dropout else x
        for layer, block in enumerate(self.blocks):
            x = block(x, run, layer)
        if kept is not None:
            kept.put((torch.stack(run.after),), ids.shape[1])
        return self.final_norm(x)
