"""The Transformer that reads in both directions, in the shapes from BERT to those of today."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.model.checks import check_row
from manyheads.model.decoder_settings import check_encoder
from manyheads.model.encoder_layers import EncoderLayers, query_scale
from manyheads.model.initialization import Shape, initialize


class Encoder(nn.Module):
    """Token ids to hidden states, each position seeing all of its segment; padding (segment 0) is seen by none but padding.

    BERT's shape (Devlin et al. 2019; config.json of google-bert/bert-base-uncased) is norm_position=post norm=layernorm
    norm_eps=1e-12 positions=learned max_positions=512 embedding_norm=true token_types=2 activation=gelu bias=true dropout=0.1.

    Args:
        vocab_size: V.
        dim: D, the width.
        num_layers: how many blocks.
        num_heads: H attention heads, each dim / num_heads wide.
        num_kv_heads: G key/value heads; None for as many as there are heads.
        ff_dim: inner width of the feed-forward layers; None for 4 D, with SwiGLU for 8/3 D rounded up to a multiple of 64.
        activation: swiglu, geglu, gelu, gelu_tanh or relu.
        norm: rmsnorm or layernorm.
        norm_position: pre (with one more norm at the end) or post.
        norm_eps: what norms add under the root.
        positions: rotary, learned, sinusoidal, relative (T5: Raffel et al. 2020, section 2.1) or none.
        max_positions: the longest row; None for no limit. Learned positions need it.
        rotary_base: the base of rotary angles.
        relative_buckets: how many distances relative positions tell apart, half of them exactly.
        relative_distance: from where on relative positions tell no two distances apart.
        scale_scores: divides the scores of attention by sqrt(K); false as in T5, with init=t5.
        token_types: how many kinds of tokens have a vector added, such as 2 for the texts of a pair (Devlin et al. 2019,
            section 3); a batch without `token_types` is all of kind 0. None for no such vectors.
        tie_embeddings: a head that scores tokens uses the embedding's weight.
        embedding_norm: a norm after all embeddings.
        bias: in linear layers and LayerNorm.
        dropout: on embeddings, attention weights and what each half of a block adds.
        token_dropout: how likely a token is left out of a row in training: its embedding is 0, its place stays (Iyyer et
            al. 2015, section 3, where a left-out word leaves the average too). It makes single words harder to learn by heart.
        init: gpt2, normal, neox, glorot, zero_residual or t5; see `initialization`.
        init_std: the standard deviation that gpt2, normal and zero_residual start from.

    Raises:
        UserError: for numbers that do not fit together, naming the nearest that do.
    """

    kind: ClassVar[str] = "bidirectional"

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
        norm_eps: float = 1e-5,
        positions: Literal["rotary", "learned", "sinusoidal", "relative", "none"] = "rotary",
        max_positions: int | None = None,
        rotary_base: float = 10000.0,
        relative_buckets: int = 32,
        relative_distance: int = 128,
        scale_scores: bool = True,
        token_types: int | None = None,
        tie_embeddings: bool = True,
        embedding_norm: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        init: Literal["gpt2", "normal", "neox", "glorot", "zero_residual", "t5"] = "gpt2",
        init_std: float = 0.02,
    ) -> None:
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        self.settings = check_encoder(settings)
        self.vocab_size = vocab_size
        self.dim = dim
        self.max_positions = max_positions
        self.embedding = nn.Embedding(vocab_size, dim)
        self.token_types = None if token_types is None else nn.Embedding(token_types, dim)
        self.layers = EncoderLayers(self.settings, num_layers)
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when a head that scores tokens shares it, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew, as `init` says; biases become 0 and norms 1."""
        settings = self.settings
        shape = Shape(
            dim=self.dim,
            num_layers=settings["num_layers"],
            std=settings["init_std"],
            query_scale=query_scale(settings),
        )
        initialize(self, settings["init"], shape)

    def forward(self, batch: Batch, cache: None = None) -> Tensor:
        """Hidden states [B, T, D], after the last norm. There is no cache: every state depends on what comes later.

        Raises UserError when a row is longer than `max_positions`.
        """
        assert cache is None, "a network that reads in both directions reads each row as a whole"
        input_ids, positions = batch["input_ids"], batch.get("positions")
        check_row(self.max_positions, input_ids.shape[1], positions)
        x = self.embedding(input_ids)  # [B, T, D]
        if self.training and self.settings["token_dropout"] > 0:
            x = x * (torch.rand_like(x[..., :1]) >= self.settings["token_dropout"])
        if self.token_types is not None:
            types = batch.get("token_types")
            x = x + (self.token_types.weight[0] if types is None else self.token_types(types))
        return self.layers(x, batch.get("segments"), positions)
