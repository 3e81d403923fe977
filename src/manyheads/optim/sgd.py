"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from manyheads import sharded
from manyheads.errors import UserError, check_range
from manyheads.optim.base import can_fuse, check_at_least_zero, leave_unscaling_outside, optimizer_builder
from manyheads.optim.groups import decay_groups
from manyheads.optim.schedule import CourseToTenth


@optimizer_builder(CourseToTenth)
def sgd(
    *,
    module: nn.Module,
    lr: float = 0.1,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """torch.optim.SGD over `module`; weights decay, embeddings, norms and biases do not.

    The decay is torch's for this optimizer: `weight_decay` times the weight is added to the gradient, and so goes
    through the momentum. `nesterov` looks ahead as in Sutskever et al., "On the importance of initialization and
    momentum in deep learning", 2013, section 2.

    Args:
        module: what is trained.
        lr: the learning rate at the peak of its course.
        momentum: how much of the sum of past gradients stays at each step.
        nesterov: whether the gradient is taken a step ahead along that sum.
        weight_decay: how much of a weight is added to its gradient.

    Raises UserError for values out of range.
    """
    check_at_least_zero(lr=lr, weight_decay=weight_decay)
    check_range("optim.momentum", momentum, 0, 1)
    if nesterov and not momentum:
        raise UserError("optim.nesterov=true looks ahead along the momentum, and optim.momentum=0. Set one above 0.")
    optimizer = torch.optim.SGD(
        decay_groups(module, weight_decay),
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        # torch's fused kernel of this one does not know parameters of which each rank holds a part
        fused=can_fuse(list(module.parameters())) and not sharded.is_sharded(module),
    )
    return leave_unscaling_outside(optimizer)
