"""Lion against a plain loop of the paper's algorithm."""

import math

import pytest
import torch
from torch import nn

from manyheads.errors import UserError
from manyheads.optim.lion import lion


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)).double()


def test_equals_the_papers_algorithm_written_number_by_number() -> None:
    """Guards against swapped betas, decay on the wrong group and a momentum updated before the sign is taken."""
    module = model()
    optimizer = lion(module=module, lr=0.01, betas=(0.8, 0.6), weight_decay=0.3).optimizer
    weights = [parameter.flatten().tolist() for parameter in module.parameters()]
    momenta = [[0.0] * len(values) for values in weights]
    decays = (0.0, 0.3, 0.0)  # embedding, weight, bias
    generator = torch.Generator().manual_seed(7)
    for _ in range(6):
        for place, parameter in enumerate(module.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            for i, gradient in enumerate(parameter.grad.flatten().tolist()):
                update = math.copysign(1.0, 0.8 * momenta[place][i] + (1 - 0.8) * gradient)
                weights[place][i] -= 0.01 * (update + decays[place] * weights[place][i])
                momenta[place][i] = 0.6 * momenta[place][i] + (1 - 0.6) * gradient
        optimizer.step()
    for parameter, wanted in zip(module.parameters(), weights, strict=True):
        assert parameter.flatten().tolist() == pytest.approx(wanted, rel=1e-12)


def test_a_parameter_without_a_gradient_stays() -> None:
    """Guards against decay, or a sign of old momentum, in a step that was not taken."""
    module = model()
    optimizer = lion(module=module).optimizer
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = [parameter.clone() for parameter in module.parameters()]
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def test_the_schedule_is_the_one_asked_for() -> None:
    """Guards against settings of the schedule that stop at the builder."""
    made = lion(
        module=model(), schedule="wsd", warmup_steps=None, warmup_fraction=0.5, floor=0.5, decay_fraction=0.5,
        decay_shape="linear",
    ).schedule  # fmt: skip
    assert made.factor(6, 0.75) == 0.75


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr": -1}, "optim.lr=-1: set a number of at least 0."),
        ({"weight_decay": -0.1}, "optim.weight_decay=-0.1: set a number of at least 0."),
        ({"betas": [0.9, 1.0]}, "optim.betas=[0.9, 1.0]: set two numbers of at least 0 and below 1."),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against a bad value that shows only in the loss."""
    with pytest.raises(UserError) as error:
        lion(module=model(), **settings)
    assert str(error.value) == text
