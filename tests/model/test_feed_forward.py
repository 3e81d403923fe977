import math

import pytest
import torch

from manyheads.model.feed_forward import ACTIVATIONS, FeedForward


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("swiglu", 5 * silu(2.0) * 3.0),  # down * silu(gate x) * (up x)
        ("geglu", 5 * 3.0 * (1 + math.tanh(math.sqrt(2 / math.pi) * (2 + 0.044715 * 8)))),  # gelu_tanh(gate x) * (up x)
        ("gelu", 5 * 3.0 * 0.5 * (1 + math.erf(3 / math.sqrt(2)))),
        ("gelu_tanh", 5 * 1.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (3 + 0.044715 * 27)))),
        ("relu", 15.0),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    """Width 1: gate 2, up 3, down 5, input 1. Guards gate and up being swapped: silu(3) * 2 differs."""
    layer = FeedForward(dim=1, ff_dim=1, activation=ACTIVATIONS[name], bias=False)
    weights = {"gate": 2.0, "up": 3.0, "down": 5.0}
    layer.load_state_dict({f"{part}.weight": torch.tensor([[weights[part]]]) for part, _ in layer.named_children()})
    torch.testing.assert_close(layer(torch.ones(1, 1, 1)), torch.full((1, 1, 1), expected))


def test_relu_stops_what_is_negative() -> None:
    assert ACTIVATIONS["relu"].function(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(("dim", "width"), [(128, 384), (192, 512), (256, 704), (1, 64)])
def test_default_width_with_a_gate(dim: int, width: int) -> None:
    """8/3 of 128 is 341.3, of 192 exactly 512, of 256 682.7; rounded up to a multiple of 64."""
    assert ACTIVATIONS["swiglu"].default_width(dim) == width


def test_default_width_without_a_gate() -> None:
    assert ACTIVATIONS["gelu"].default_width(100) == 400
