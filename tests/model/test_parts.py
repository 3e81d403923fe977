"""Guards: a parameter counted twice or in no part, and FLOPs that are not those that torch counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.parts import Count, count_flops, count_parameters
from manyheads.model.regions import recompute_blocks

GRID: list[dict[str, Any]] = [
    {},
    {"num_kv_heads": 2, "tie_embeddings": False},
    {"activation": "relu", "norm": "layernorm", "norm_position": "post", "positions": "sinusoidal", "bias": True},
    {"activation": "gelu_tanh", "positions": "learned", "max_positions": 16, "norm": "layernorm", "dropout": 0.1},
]


def make(**settings: Any) -> nn.ModuleDict:
    network = Decoder(vocab_size=40, dim=16, num_layers=3, num_heads=4, **settings)
    return nn.ModuleDict(
        {"network": network, "head": NextToken(dim=16, vocab_size=40, weight=network.output_weight, bias=True)}
    )


def test_gpt2_by_hand() -> None:
    """GPT-2's smallest: 124,439,808 in all (its released weights), tied embedding once."""
    with torch.device("meta"):
        network = Decoder(
            vocab_size=50257, dim=768, num_layers=12, num_heads=12, activation="gelu_tanh", norm="layernorm",
            positions="learned", max_positions=1024, bias=True,
        )  # fmt: skip
        head = NextToken(dim=768, vocab_size=50257, weight=network.output_weight)
    found = count_parameters(nn.ModuleDict({"network": network, "head": head}))
    assert {part: count.total for part, count in found.items()} == {
        "embedding": (50257 + 1024) * 768,
        "attention": 12 * 4 * (768 * 768 + 768),
        "feed-forward": 12 * (2 * 768 * 3072 + 3072 + 768),
        "norms": 25 * 2 * 768,
    }
    assert sum(count.total for count in found.values()) == 124_439_808


@pytest.mark.parametrize("settings", GRID)
def test_every_parameter_is_in_one_part(settings: dict[str, Any]) -> None:
    whole = make(**settings)
    found = count_parameters(whole)
    assert "other" not in found
    assert sum(count.total for count in found.values()) == sum(p.numel() for p in whole.parameters())
    assert all(count.total == count.active for count in found.values())
    assert found["head"].total == 40 + (0 if whole["network"].output_weight is not None else 40 * 16)  # type: ignore


def test_experts_of_which_a_token_uses_a_share() -> None:
    """Parameters and FLOPs of a module that says that a token uses 2 of its 8 experts; the router is used whole."""

    class Experts(nn.Module):
        active_share = 2 / 8

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8, 5, 3))

    whole = nn.ModuleDict({"router": nn.Linear(5, 8, bias=False), "experts": Experts()})
    assert count_parameters(whole) == {"other": Count(160, 70)}
    assert count_flops(whole, 9).forward == 2 * 70


@pytest.mark.parametrize("settings", GRID)
def test_flops_are_those_that_torch_counts(settings: dict[str, Any]) -> None:
    """Exactly, forward and backward, of the plain path of attention; torch's fused ones compute some products twice."""
    whole = make(**settings)
    ids = torch.zeros(2, 12, dtype=torch.int64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            output = whole["head"](whole["network"]({"input_ids": ids}), {"labels": ids})
        with FlopCounterMode(display=False) as backward:
            output.loss_sum.backward()
    found = count_flops(whole, 12)
    assert found.forward * 24 == forward.get_total_flops()
    assert found.training * 24 == forward.get_total_flops() + backward.get_total_flops()
    assert found.recomputed == 0


def test_flops_that_checkpointing_adds() -> None:
    """Half of the blocks' forward pass at every second of four blocks; nothing of the head's."""
    whole = make()
    head = 2 * 40 * 16
    assert isinstance(whole["network"], nn.Module)
    recompute_blocks(whole["network"], 3)  # the last of three
    found = count_flops(whole, 12)
    assert found.recomputed * 3 == found.forward - head
