"""Lion: the sign of a momentum as the step, with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from manyheads import sharded
from manyheads.optim.base import check_at_least_zero, check_betas, optimizer_builder
from manyheads.optim.groups import decay_groups
from manyheads.optim.schedule import CourseToTenth

_torch: Any = torch  # its foreach functions have no types


class Lion(Optimizer):
    """Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2.

    With gradient g and momentum m (0 at first), a parameter p takes the step
    p -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p), and then m = beta2 * m + (1 - beta2) * g.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        """`params` are groups, as of any optimizer of torch's."""
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step over all parameters that have a gradient; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        # of parts and whole tensors torch makes no list; each number has a step of its own, so a rank's parts will do
        momenta = [sharded.local(self.state[p]["momentum"]) for p in parameters]
        gradients = [sharded.local(p.grad) for p in parameters if p.grad is not None]
        parameters = [sharded.local(p) for p in parameters]
        first, second = group["betas"]
        directions = _torch._foreach_lerp(momenta, gradients, 1 - first)
        _torch._foreach_sign_(directions)
        _torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        _torch._foreach_add_(parameters, directions, alpha=-group["lr"])
        _torch._foreach_lerp_(momenta, gradients, 1 - second)


@optimizer_builder(CourseToTenth)
def lion(
    *,
    module: nn.Module,
    lr: float = 3e-4,
    betas: Sequence[float] = (0.9, 0.99),
    weight_decay: float = 1.0,
) -> Optimizer:
    """Lion over `module`; weights decay, embeddings, norms and biases do not.

    Next to AdamW's, its rate is smaller and its decay larger by the same factor of 3 to 10 (Chen et al., "Symbolic
    Discovery of Optimization Algorithms", 2023, section 5): the defaults are those of optim=adamw, times and over 10.

    Args:
        module: what is trained.
        lr: the learning rate at the peak of its course: each weight moves by that much, up or down.
        betas: how much of the averaged gradient makes a step's direction, and how much of it stays for the next.
        weight_decay: how much of a weight, times the learning rate, is taken off it at each step.

    Raises UserError for values out of range.
    """
    check_at_least_zero(lr=lr, weight_decay=weight_decay)
    optimizer = Lion(decay_groups(module, weight_decay), lr=lr, betas=check_betas(betas))
    return optimizer
