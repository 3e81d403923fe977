"""Guards plain tensors that are copied, or asked for by another rank, where nothing is sharded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from manyheads import sharded


def test_what_is_not_sharded_passes_through() -> None:
    one, other = torch.ones(3), torch.zeros(3)
    assert sharded.local(one) is one
    assert sharded.whole(one) is one
    assert sharded.part_of(one, other) is one
    assert sharded.parts_of({"a": one}, {"a": other})["a"] is one
    assert not sharded.are_parts([one, other])
    assert sharded.are_alike([one, other])


def test_norms_of_plain_tensors() -> None:
    """3, 4, 12: a right triangle, and another upon its long side."""
    tensors = [torch.tensor([3.0, 4.0]), torch.tensor([[12.0]], dtype=torch.float64)]
    squares = sharded.square_norms(tensors)
    assert squares.tolist() == [25.0, 144.0]
    assert squares.dtype == torch.float64
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert sharded.clip_gradients([parameter], 1.0).item() == 5.0
    assert parameter.grad.tolist() == pytest.approx([0.6, 0.8])


def test_a_plain_module_is_not_sharded_and_gathering_it_does_nothing() -> None:
    module = nn.Linear(2, 2)
    weight = module.weight
    assert not sharded.is_sharded(module)
    with sharded.gathered(module):
        assert module.weight is weight
