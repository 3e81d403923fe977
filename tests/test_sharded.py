"""Guards plain tensors that are copied, or asked for by another rank, where nothing is sharded."""

from __future__ import annotations

import torch
from torch import nn

from manyheads import sharded


def test_what_is_not_sharded_passes_through() -> None:
    one, other = torch.ones(3), torch.zeros(3)
    assert sharded.local(one) is one
    assert sharded.whole(one) is one
    assert sharded.part_of(one, other) is one
    assert sharded.parts_of({"a": one}, {"a": other})["a"] is one
    assert sharded.added_up(one, [other]) is one


def test_a_plain_module_is_not_sharded_and_gathering_it_does_nothing() -> None:
    module = nn.Linear(2, 2)
    weight = module.weight
    assert not sharded.is_sharded(module)
    with sharded.gathered(module):
        assert module.weight is weight
