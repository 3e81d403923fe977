"""Schedule-Free AdamW: an average of the weights in the place of a falling learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from manyheads.errors import UserError
from manyheads.marks import builder
from manyheads.optim.base import AveragingOptimizer, Optimization, check_at_least_zero, check_betas
from manyheads.optim.groups import decay_groups
from manyheads.optim.schedule import Course

_torch: Any = torch  # its foreach functions have no types


class ScheduleFreeAdamW(AveragingOptimizer):
    """Defazio et al., "The Road Less Scheduled", 2024, algorithm 1.

    Gradients are taken at y = (1 - beta1) * z + beta1 * x, which is what the parameters hold throughout. z takes AdamW's
    steps without momentum, the decay being that of y; x, the weights to evaluate, is the average of all z, each weighed
    by the square of the largest learning rate so far. x is not stored: `averages` finds it from y and z.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """`params` are groups, as of any optimizer of torch's; `betas[0]` is above 0."""
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "steps": 0, "weight_sum": 0.0, "largest_lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step over all parameters that have a gradient; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(group, parameters)
        return loss

    @torch.no_grad()
    def averages(self) -> dict[Parameter, Tensor]:
        """x of each parameter that has been stepped on, as new tensors."""
        found: dict[Parameter, Tensor] = {}
        for group in self.param_groups:
            first, _ = group["betas"]
            stepped = [p for p in group["params"] if "z" in self.state[p]]
            if stepped:
                z = [self.state[p]["z"] for p in stepped]
                found |= zip(stepped, _torch._foreach_lerp(stepped, z, 1 - 1 / first), strict=True)
        return found

    def _update(self, group: dict[str, Any], parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if "z" not in self.state[parameter]:
                self.state[parameter]["z"] = parameter.clone(memory_format=torch.preserve_format)
                self.state[parameter]["square"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        z = [self.state[p]["z"] for p in parameters]
        squares = [self.state[p]["square"] for p in parameters]
        gradients = [p.grad for p in parameters]
        (first, second), lr = group["betas"], group["lr"]
        group["steps"] += 1
        group["largest_lr"] = max(lr, group["largest_lr"])
        group["weight_sum"] += group["largest_lr"] ** 2
        share = group["largest_lr"] ** 2 / group["weight_sum"] if group["weight_sum"] else 0.0

        _torch._foreach_mul_(squares, second)
        _torch._foreach_addcmul_(squares, gradients, gradients, value=1 - second)
        scale = _torch._foreach_div(squares, 1 - second ** group["steps"])
        _torch._foreach_sqrt_(scale)
        _torch._foreach_add_(scale, group["eps"])
        directions = _torch._foreach_div(gradients, scale)
        _torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        # y with the new x and the new z, without x
        _torch._foreach_lerp_(parameters, z, share)
        _torch._foreach_add_(parameters, directions, alpha=lr * (first * (1 - share) - 1))
        _torch._foreach_sub_(z, directions, alpha=lr)


@builder
def schedule_free(
    *,
    module: nn.Module,
    lr: float = 5e-3,
    betas: Sequence[float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
    warmup_steps: int | None = 100,
    warmup_fraction: float | None = None,
) -> Optimization:
    """Schedule-Free AdamW over `module`; weights decay, embeddings, norms and biases do not.

    After the warm-up the learning rate stays where it is. Validation, samples, checkpoints and the export hold the
    averaged weights. Defazio et al., "The Road Less Scheduled", 2024, find larger rates than AdamW's best (section 4).

    Args:
        module: what is trained.
        lr: the learning rate after the warm-up.
        betas: how much of the average of the weights is in the point where gradients are taken, and how much of the
            average of squared gradients stays at each step.
        eps: what is added to the root of the average of squares.
        weight_decay: how much of a weight, times the learning rate, is taken off it at each step.
        warmup_steps, warmup_fraction: see `Course`.

    Raises UserError for values out of range.
    """
    check_at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
    first, second = check_betas(betas)
    if not first:
        raise UserError(
            f"optim.betas={list(betas)}: the first is the average's share of the weights. Set it above 0, as 0.9."
        )
    optimizer = ScheduleFreeAdamW(decay_groups(module, weight_decay), lr=lr, betas=(first, second), eps=eps)
    return Optimization(
        optimizer, Course(schedule="constant", warmup_steps=warmup_steps, warmup_fraction=warmup_fraction)
    )
