"""Guards an encoder that looks one way only, across segments or at padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from manyheads.model.encoder_layers import EncoderLayers, Parts
from manyheads.model.positions import Sinusoidal

SETTINGS: dict[str, Any] = {
    "dim": 16, "num_heads": 4, "num_kv_heads": 2, "ff_dim": 24, "activation": "gelu", "norm": "layernorm",
    "norm_position": "pre", "norm_eps": 1e-5, "positions": "rotary", "max_positions": None, "rotary_base": 100.0,
    "embedding_norm": False, "bias": True, "dropout": 0.0, "scale_scores": True, "relative_buckets": 6, "relative_distance": 5,
}  # fmt: skip


def layers(**settings: Any) -> EncoderLayers:
    torch.manual_seed(0)
    made = EncoderLayers(SETTINGS | settings, 2).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("positions", ["rotary", "learned", "sinusoidal", "relative", "none"])
@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_packed_segments_are_each_alone(positions: str, norm_position: str) -> None:
    """Among padding before, between and after them."""
    made, x = layers(positions=positions, norm_position=norm_position, max_positions=8), torch.randn(1, 9, 16).double()
    segments = torch.tensor([[0, 1, 1, 1, 0, 2, 2, 0, 0]])
    places = torch.tensor([[0, 0, 1, 2, 0, 0, 1, 0, 0]])
    found = made(x, segments, places)
    torch.testing.assert_close(found[:, 1:4], made(x[:, 1:4]), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[:, 5:7], made(x[:, 5:7]), rtol=1e-10, atol=1e-10)
    assert found.isfinite().all()


def test_every_position_sees_every_other() -> None:
    made, x = layers(), torch.randn(1, 4, 16).double().requires_grad_()
    for place in range(4):
        (gradient,) = torch.autograd.grad(made(x)[0, place].sum(), x)
        assert gradient[0].abs().sum(-1).min() > 1e-3


def test_norms_are_where_the_settings_say() -> None:
    ends = [(layers(norm_position=place).final_norm, layers(embedding_norm=on).embedding_norm)
            for place, on in (("pre", True), ("post", False))]  # fmt: skip
    assert [[isinstance(norm, nn.LayerNorm) for norm in pair] for pair in ends] == [[True, True], [False, False]]


def test_the_norm_of_embeddings_comes_after_the_positions() -> None:
    """A layer that adds nothing leaves what was normed: a norm before the positions would have another deviation."""
    made = layers(embedding_norm=True, positions="sinusoidal", norm_position="post")
    made.blocks = nn.ModuleList()
    nn.init.ones_(made.embedding_norm.weight), nn.init.zeros_(made.embedding_norm.bias)
    found = made(torch.randn(1, 5, 16).double())
    torch.testing.assert_close(found.std(-1, unbiased=False), torch.ones(1, 5).double(), rtol=1e-3, atol=1e-3)


def test_parts_follow_their_settings() -> None:
    parts = Parts(SETTINGS | {"positions": "sinusoidal", "activation": "swiglu", "ff_dim": 40})
    assert isinstance(parts.positions(both_ways=True), Sinusoidal)
    assert (parts.feed_forward().gate.out_features, parts.attention().key.out_features) == (40, 8)
