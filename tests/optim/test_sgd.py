"""SGD against torch's and against the formula on one number."""

import pytest
import torch
from torch import nn

from manyheads.errors import UserError
from manyheads.optim.sgd import sgd


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))


def train(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(5):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("nesterov", [False, True])
def test_equals_torch_sgd_with_decay_on_matrices_alone(nesterov: bool) -> None:
    """Guards against swapped groups and lost settings: weights are equal to the bit after five steps."""
    ours, theirs = model(), model()
    train(ours, sgd(module=ours, lr=0.02, momentum=0.8, nesterov=nesterov, weight_decay=0.3).optimizer)
    embedding, weight, bias = theirs.parameters()
    groups = [{"params": [weight], "weight_decay": 0.3}, {"params": [embedding, bias], "weight_decay": 0.0}]
    train(theirs, torch.optim.SGD(groups, lr=0.02, momentum=0.8, nesterov=nesterov, fused=True))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_two_steps_by_hand() -> None:
    """Guards against an oracle that shares our mistake: v = 0.5 v + g + 0.1 w, w = w - 0.1 (g + 0.1 w + 0.5 v)."""
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 2.0)
    optimizer = sgd(module=module, lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.1).optimizer
    weight, velocity = 2.0, 0.0
    for gradient in (3.0, -1.0):
        module.weight.grad = torch.full_like(module.weight, gradient)
        optimizer.step()
        velocity = 0.5 * velocity + gradient + 0.1 * weight
        weight -= 0.1 * (gradient + 0.1 * weight + 0.5 * velocity)
    assert module.weight.item() == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr": -1}, "optim.lr=-1: set a number of at least 0."),
        ({"momentum": 1.5}, "optim.momentum=1.5: set a number from 0 to 1."),
        (
            {"nesterov": True, "momentum": 0.0},
            "optim.nesterov=true looks ahead along the momentum, and optim.momentum=0. Set one above 0.",
        ),
        ({"weight_decay": -0.1}, "optim.weight_decay=-0.1: set a number of at least 0."),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against torch's own words, which do not name the key."""
    with pytest.raises(UserError) as error:
        sgd(module=model(), **settings)
    assert str(error.value) == text
