"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from manyheads.optim.base import can_fuse, check_at_least_zero, check_betas, leave_unscaling_outside, optimizer_builder
from manyheads.optim.groups import decay_groups
from manyheads.optim.schedule import CourseToTenth


@optimizer_builder(CourseToTenth)
def adamw(
    *,
    module: nn.Module,
    lr: float = 3e-3,
    betas: Sequence[float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> Optimizer:
    """torch.optim.AdamW over `module`; weights decay, embeddings, norms and biases do not.

    Betas, decay and the fall to a tenth are those of Brown et al., "Language Models are Few-Shot Learners", 2020,
    appendix B.

    Args:
        module: what is trained.
        lr: the learning rate at the peak of its course.
        betas: how much of the averages of gradients and of their squares stays at each step.
        eps: what is added to the root of the average of squares.
        weight_decay: how much of a weight, times the learning rate, is taken off it at each step.

    Raises UserError for values out of range.
    """
    check_at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
    groups = decay_groups(module, weight_decay)
    optimizer = torch.optim.AdamW(
        groups,
        lr=lr,
        betas=check_betas(betas),
        eps=eps,
        fused=can_fuse(*(group["params"] for group in groups)),
    )
    return leave_unscaling_outside(optimizer)
