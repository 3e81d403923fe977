"""AdamW against torch's and against the paper's formula."""

import math

import pytest
import torch
from torch import nn

from manyheads.errors import UserError
from manyheads.optim.adamw import adamw


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_equals_torch_adamw_with_decay_on_matrices_alone() -> None:
    """Guards against swapped groups and lost settings: weights are equal to the bit after five steps."""
    ours, theirs = model(), model()
    train(ours, adamw(module=ours, lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3).optimizer)
    embedding, weight, bias = theirs.parameters()
    groups = [{"params": [weight], "weight_decay": 0.3}, {"params": [embedding, bias], "weight_decay": 0.0}]
    train(theirs, torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9), eps=1e-6, fused=True))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_two_steps_by_hand() -> None:
    """Guards against an oracle that shares our mistake: Loshchilov and Hutter 2019, algorithm 2, on one number."""
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 2.0)
    optimizer = adamw(module=module, lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.5).optimizer
    weight, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((3.0, -1.0), start=1):
        module.weight.grad = torch.full_like(module.weight, gradient)
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        ratio = (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.99**step)) + 1e-8)
        weight -= 0.1 * (ratio + 0.5 * weight)
    assert module.weight.item() == pytest.approx(weight, rel=1e-12)


def test_the_schedule_is_the_one_asked_for() -> None:
    """Guards against settings of the schedule that stop at the builder."""
    schedule = adamw(module=model(), schedule="linear", warmup_steps=0, floor=0.5).schedule
    assert schedule.factor(5, 0.5) == 0.75


def test_gradients_can_be_clipped_before_a_fused_step() -> None:
    """Guards against Lightning's refusal to clip for an optimizer that says it unscales gradients itself."""
    from lightning_fabric.plugins.precision.amp import _optimizer_handles_unscaling

    assert not _optimizer_handles_unscaling(adamw(module=model()).optimizer)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr": -1}, "optim.lr=-1: set a number of at least 0."),
        ({"lr": "abc"}, "optim.lr=abc: set a number of at least 0."),
        ({"lr": math.nan}, "optim.lr=nan: set a number of at least 0."),
        ({"eps": -1e-8}, "optim.eps=-1e-08: set a number of at least 0."),
        ({"weight_decay": -0.1}, "optim.weight_decay=-0.1: set a number of at least 0."),
        ({"betas": [0.9, 1.0]}, "optim.betas=[0.9, 1.0]: set two numbers of at least 0 and below 1."),
        ({"betas": [0.9]}, "optim.betas=[0.9]: set two numbers of at least 0 and below 1."),
        ({"floor": 2}, "optim.floor=2: set a number from 0 to 1."),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against torch's own words, which do not name the key."""
    with pytest.raises(UserError) as error:
        adamw(module=model(), **settings)
    assert str(error.value) == text
