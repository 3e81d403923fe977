"""Adam against torch's."""

import pytest
import torch
from torch import nn

from manyheads.errors import UserError
from manyheads.optim.adam import adam


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))


def test_equals_torch_adam() -> None:
    """Guards against lost settings and a hidden decay: weights are equal to the bit after five steps."""
    ours, theirs = model(), model()
    theirs[0].weight.requires_grad_(False)
    ours[0].weight.requires_grad_(False)
    one = adam(module=ours, lr=0.01, betas=[0.8, 0.9], eps=1e-6).optimizer
    two = torch.optim.Adam(theirs[1].parameters(), lr=0.01, betas=(0.8, 0.9), eps=1e-6, fused=True)
    generator = torch.Generator().manual_seed(7)
    for _ in range(5):
        for mine, yours in zip(ours[1].parameters(), theirs[1].parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            yours.grad = mine.grad.clone()
        one.step()
        two.step()
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_a_wrong_setting_is_the_users_mistake() -> None:
    """Guards against torch's own words, which do not name the key."""
    with pytest.raises(UserError, match=r"^optim.lr=-1: set a number of at least 0.$"):
        adam(module=model(), lr=-1)
