"""Adam, without decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from manyheads.marks import builder
from manyheads.optim.base import Optimization, can_fuse, check_at_least_zero, check_betas, leave_unscaling_outside
from manyheads.optim.schedule import DecayShape, Schedule, Shape


@builder
def adam(
    *,
    module: nn.Module,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: Shape = "cosine",
    warmup_steps: int | None = 100,
    warmup_fraction: float | None = None,
    floor: float = 0.0,
    decay_fraction: float = 0.2,
    decay_shape: DecayShape = "1-sqrt",
) -> Optimization:
    """torch.optim.Adam over `module`, with the constants of Kingma and Ba, "Adam: A Method for Stochastic Optimization",
    2015, algorithm 1.

    Args:
        module: what is trained.
        lr: the learning rate at the peak of its course.
        betas: how much of the averages of gradients and of their squares stays at each step.
        eps: what is added to the root of the average of squares.
        schedule, warmup_steps, warmup_fraction, floor, decay_fraction, decay_shape: see `Schedule`.

    Raises UserError for values out of range.
    """
    check_at_least_zero(lr=lr, eps=eps)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=check_betas(betas), eps=eps, fused=can_fuse(parameters))
    course = Schedule(
        shape=schedule,
        warmup_steps=warmup_steps,
        warmup_fraction=warmup_fraction,
        floor=floor,
        decay_fraction=decay_fraction,
        decay_shape=decay_shape,
    )
    return Optimization(leave_unscaling_outside(optimizer), course)
