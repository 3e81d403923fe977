"""Schedule-Free AdamW against the paper's three sequences, and against its authors' package."""

import io
import math

import pytest
import schedulefree
import torch
from torch import nn

from manyheads.errors import UserError
from manyheads.optim.schedule_free import ScheduleFreeAdamW, schedule_free

RATES = (0.01, 0.02, 0.03, 0.03, 0.03)  # a warm-up, then the peak


def model(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)).to(dtype)


def ours_of(module: nn.Module) -> ScheduleFreeAdamW:
    made = schedule_free(module=module, lr=0.03, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3).optimizer
    assert isinstance(made, ScheduleFreeAdamW)
    return made


def set_gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)


def step(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    set_gradients(module, number)
    for group in optimizer.param_groups:
        group["lr"] = RATES[number]
    optimizer.step()


def test_equals_the_papers_sequences_x_y_z() -> None:
    """Guards against an x or a y that drifts, since neither is kept: one weight, with x, y and z each written out."""
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 2.0)
    optimizer = ours_of(module)
    x = y = z = 2.0
    square = weights = 0.0
    for number, (gradient, rate) in enumerate(zip((3.0, -1.0, 0.5, -2.0, 1.0), RATES, strict=True), start=1):
        assert module.weight.item() == pytest.approx(y, rel=1e-12)
        module.weight.grad = torch.full_like(module.weight, gradient)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        z -= rate * (gradient / (math.sqrt(square / (1 - 0.9**number)) + 1e-6) + 0.3 * y)
        weights += rate**2
        x = (1 - rate**2 / weights) * x + rate**2 / weights * z
        y = 0.2 * z + 0.8 * x
        assert optimizer.averages()[module.weight].item() == pytest.approx(x, rel=1e-12)


def test_equals_the_package_of_its_authors() -> None:
    """Guards against an oracle that shares our reading: trained and averaged weights, every group, a changing rate."""
    ours, theirs = model(), model()
    optimizer = ours_of(ours)
    embedding, weight, bias = theirs.parameters()
    groups = [{"params": [weight], "weight_decay": 0.3}, {"params": [embedding, bias], "weight_decay": 0.0}]
    oracle = schedulefree.AdamWScheduleFree(groups, lr=0.03, betas=(0.8, 0.9), eps=1e-6)
    oracle.train()
    for number in range(len(RATES)):
        step(ours, optimizer, number)
        step(theirs, oracle, number)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    oracle.eval()
    averages = optimizer.averages()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(averages[one], other.detach(), rtol=1e-12, atol=1e-14)
        assert (one - other).abs().max() > 1e-4


def test_goes_on_from_a_saved_state_to_the_bit() -> None:
    """Guards against a count, a sum of weights or a sequence that the state does not hold."""
    whole, halved = model(torch.float32), model(torch.float32)
    optimizer, first = ours_of(whole), ours_of(halved)
    for number in range(5):
        step(whole, optimizer, number)
    for number in range(3):
        step(halved, first, number)
    file = io.BytesIO()
    torch.save({"weights": halved.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = model(torch.float32)
    second = ours_of(resumed)
    resumed.load_state_dict(saved["weights"])
    second.load_state_dict(saved["optimizer"])
    for number in range(3, 5):
        step(resumed, second, number)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(optimizer.averages()[one], second.averages()[other])


def test_there_is_no_average_before_the_first_step_and_none_of_a_step_at_rate_0() -> None:
    """Guards against a division of 0 by 0 where a warm-up begins at 0."""
    module = model()
    optimizer = ours_of(module)
    assert optimizer.averages() == {}
    before = [parameter.clone() for parameter in module.parameters()]
    set_gradients(module, 0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def test_the_rate_warms_up_and_stays() -> None:
    """Guards against a fall: the average takes its place."""
    course = schedule_free(module=model(), warmup_steps=4).schedule
    assert [course.factor(n, n / 10) for n in (0, 3, 4, 9)] == [0.2, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr": -1}, "optim.lr=-1: set a number of at least 0."),
        (
            {"betas": [0, 0.9]},
            "optim.betas=[0, 0.9]: the first is the average's share of the weights. Set it above 0, as 0.9.",
        ),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against a division by zero in the average."""
    with pytest.raises(UserError) as error:
        schedule_free(module=model(), **settings)
    assert str(error.value) == text
