"""The layers of an encoder, and the parts that they share with those of a decoder behind it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.model.attention import Attention, Context, compute_dtype, mutual_mask
from manyheads.model.block import BLOCKS
from manyheads.model.feed_forward import ACTIVATIONS, FeedForward
from manyheads.model.norm import NORMS
from manyheads.model.positions import POSITIONS, Positions
from manyheads.model.relative_positions import RelativePositions


def query_scale(settings: dict[str, Any]) -> float:
    """What attention leaves to its queries, of settings that were checked."""
    return 1.0 if settings["scale_scores"] else (settings["dim"] // settings["num_heads"]) ** -0.5


class Parts:
    """Makes the parts of a Transformer's layers from settings that were checked."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def norm(self) -> nn.Module:
        """One of D features."""
        settings = self.settings
        return NORMS[settings["norm"]](settings["dim"], settings["norm_eps"], settings["bias"])

    def attention(self, kind: type[Attention] = Attention) -> Any:
        """One of the layers' attention."""
        settings = {key: self.settings[key] for key in ("dim", "num_heads", "num_kv_heads", "bias", "dropout")}
        return kind(**settings, scaled=self.settings["scale_scores"])

    def feed_forward(self) -> FeedForward:
        """One of the layers' feed-forward half."""
        settings = {key: self.settings[key] for key in ("dim", "ff_dim", "bias")}
        return FeedForward(**settings, activation=ACTIVATIONS[self.settings["activation"]])

    def positions(self, *, both_ways: bool) -> Positions:
        """What tells the places of one text, of which each position sees all or what came before it."""
        settings = self.settings
        buckets = {key: settings[f"relative_{key}"] for key in ("buckets", "distance")}
        kinds = {**POSITIONS, "relative": partial(RelativePositions, both_ways=both_ways, **buckets)}
        return kinds[settings["positions"]](
            dim=settings["dim"],
            head_dim=settings["dim"] // settings["num_heads"],
            max_positions=settings["max_positions"],
            rotary_base=settings["rotary_base"],
        )

    def embedding_norm(self) -> nn.Module:
        """What follows the embeddings."""
        return self.norm() if self.settings["embedding_norm"] else nn.Identity()

    def final_norm(self) -> nn.Module:
        """What follows the last layer: a post-norm layer ends with a norm already."""
        make: dict[str, Callable[[], nn.Module]] = {"pre": self.norm, "post": nn.Identity}
        return make[self.settings["norm_position"]]()


class EncoderLayers(nn.Module):
    """Embedded tokens to states, each position seeing all of its segment; [B, S, D] -> [B, S, D].

    Args:
        settings: what `check_encoder` or `check_encoder_decoder` gives.
        num_layers: how many blocks.
    """

    def __init__(self, settings: dict[str, Any], num_layers: int) -> None:
        super().__init__()
        parts = Parts(settings)
        self.dropout = settings["dropout"]
        self.positions = parts.positions(both_ways=True)
        self.embedding_norm = parts.embedding_norm()
        make_block = partial(BLOCKS["sequential"][settings["norm_position"]], norm=parts.norm, dropout=self.dropout)
        self.blocks = nn.ModuleList(
            make_block(attention=parts.attention(), feed_forward=parts.feed_forward()) for _ in range(num_layers)
        )
        self.final_norm = parts.final_norm()

    def forward(self, embedded: Tensor, segments: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Args: embedded: [B, S, D]. segments, positions: [B, S] as in a Batch, or None."""
        x = self.embedding_norm(self.positions.add(embedded, positions, 0))
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        rotation = self.positions.rotation(positions, 0, x.shape[1], x.device)
        bias = self.positions.bias(x.shape[1], x.shape[1], x.device)
        mask = mutual_mask(segments, compute_dtype(x), bias)
        context = Context(mask=mask, is_causal=False, rotation=rotation, cache=None)
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        return self.final_norm(x)
