"""Adam, without decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from manyheads.optim.base import can_fuse, check_at_least_zero, check_betas, leave_unscaling_outside, optimizer_builder
from manyheads.optim.schedule import CourseToZero


@optimizer_builder(CourseToZero)
def adam(
    *,
    module: nn.Module,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:
    """torch.optim.Adam over `module`, with the constants of Kingma and Ba, "Adam: A Method for Stochastic Optimization",
    2015, algorithm 1.

    Args:
        module: what is trained.
        lr: the learning rate at the peak of its course.
        betas: how much of the averages of gradients and of their squares stays at each step.
        eps: what is added to the root of the average of squares.

    Raises UserError for values out of range.
    """
    check_at_least_zero(lr=lr, eps=eps)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=check_betas(betas), eps=eps, fused=can_fuse(parameters))
    return leave_unscaling_outside(optimizer)
