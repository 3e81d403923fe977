"""The optimizer of a network that counts: it has nothing to step along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import nn
from torch.optim import Optimizer

from manyheads.marks import builder
from manyheads.optim.base import Optimization
from manyheads.optim.schedule import Course


@final
class Counting(Optimizer):
    """Steps nowhere; Lightning counts its steps."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.0})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Calls the closure, in which the network counts a batch, and returns what it does."""
        return None if closure is None else closure()


@builder
def counting(*, module: nn.Module) -> Optimization:
    """For networks that count (`model=ngram`): there is no learning rate and no schedule.

    Args:
        module: what counts.
    """
    return Optimization(Counting(list(module.parameters())), Course(schedule="constant"))
