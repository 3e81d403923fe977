"""The optimizer that steps nowhere."""

import torch
from torch import nn

from manyheads.optim.counting import counting


def test_nothing_moves_and_the_closure_is_called() -> None:
    module, calls = nn.Linear(2, 2), []
    before = [parameter.clone() for parameter in module.parameters()]
    made = counting(module=module)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert made.optimizer.step(lambda: calls.append(1) or 3.0) == 3.0
    assert made.optimizer.step() is None
    assert calls == [1]
    assert all(torch.equal(one, other) for one, other in zip(before, module.parameters(), strict=True))
    assert made.optimizer.param_groups[0]["lr"] == 0
    assert made.schedule.factor(5, 0.5) == 1
