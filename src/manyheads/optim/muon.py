"""Muon for the matrices of hidden layers, AdamW for everything else, as one optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from manyheads import sharded
from manyheads.errors import UserError, check_range
from manyheads.optim.base import can_fuse, check_at_least_zero, check_betas, optimizer_builder
from manyheads.optim.groups import parameter_groups
from manyheads.optim.schedule import CourseToZero


def orthogonalize(matrix: Tensor, *, coefficients: Sequence[float], steps: int, eps: float) -> Tensor:
    """The matrix U V^T nearest to `matrix` [A, B] = U S V^T, roughly: singular values end between 0.7 and 1.2.

    A quintic Newton-Schulz iteration in the matrix's own precision: Jordan et al., "Muon: An optimizer for hidden layers
    in neural networks", 2024, muon.py, zeropower_via_newtonschulz5.
    """
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.mT if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Muon):
    """torch.optim.Muon, which on a CPU iterates in float32.

    torch's own iterates in bfloat16 everywhere. A CPU without instructions for it takes fifteen times as long that way,
    and longer than the rest of a training step.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; returns what `closure` returns."""
        if any(
            p.device.type != "cpu" and sharded.local(p) is p for group in self.param_groups for p in group["params"]
        ):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient, memory_format=torch.preserve_format)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        ahead = sharded.whole(ahead)  # the nearest orthogonal matrix is one of whole matrices
        on_cpu = ahead.device.type == "cpu"
        direction = orthogonalize(
            ahead.to(torch.promote_types(ahead.dtype, torch.float32) if on_cpu else torch.bfloat16),
            coefficients=group["ns_coefficients"],
            steps=group["ns_steps"],
            eps=group["eps"],
        )
        rows, columns = parameter.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(
            sharded.part_of(direction.to(parameter.dtype), parameter),
            alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)),
        )


class MuonAdamW(Optimizer):
    """Muon and torch.optim.AdamW behind one list of groups and one state.

    Schedulers, checkpoints and clipping see a single optimizer. The first group is Muon's.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self._muon = muon
        self._adamw = adamw
        super().__init__(muon.param_groups + adamw.param_groups, {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()
        self._adamw.step()
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Gives both halves this optimizer's own groups and state, which loading a checkpoint replaces."""
        self._muon.param_groups = self.param_groups[:1]
        self._adamw.param_groups = self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state


@optimizer_builder(CourseToZero)
def muon(
    *,
    module: nn.Module,
    lr: float = 0.02,
    momentum: float = 0.95,
    weight_decay: float = 0.1,
    adamw_lr: float = 5e-3,
    betas: Sequence[float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> Optimizer:
    """Muon with Nesterov momentum at `lr` for 2-D weights of hidden layers, AdamW at `adamw_lr` for the rest: for all of a
    network that has no such weight, such as a bag of embeddings.

    Both rates follow the same schedule. A matrix [A, B] takes steps of lr * sqrt(max(1, A / B)), and decay is
    decoupled: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, and its muon.py.

    Args:
        module: what is trained.
        lr: the learning rate of hidden matrices at the peak of its course.
        momentum: how much of the averaged gradient of those matrices stays at each step.
        weight_decay: how much of a weight, times its learning rate, is taken off it at each step.
        adamw_lr: the learning rate of the rest.
        betas: AdamW's: how much of the averages of gradients and of their squares stays at each step.
        eps: AdamW's: what is added to the root of the average of squares.

    Raises UserError for values out of range, and for a module without any other weight.
    """
    check_at_least_zero(lr=lr, adamw_lr=adamw_lr, eps=eps, weight_decay=weight_decay)
    check_range("optim.momentum", momentum, 0, 1)
    groups = parameter_groups(module)
    rest: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay, "key": "adamw_lr"}
        for parameters, decay in ((groups.decayed, weight_decay), (groups.undecayed, 0.0))
        if parameters
    ]
    if not rest:
        raise UserError("optim=muon: the network has nothing but hidden matrices. Set optim=adamw.")
    adamw = torch.optim.AdamW(
        rest, lr=adamw_lr, betas=check_betas(betas), eps=eps, fused=can_fuse(groups.decayed, groups.undecayed)
    )
    if not groups.matrices:
        return adamw
    return MuonAdamW(Muon(groups.matrices, lr=lr, momentum=momentum, weight_decay=weight_decay), adamw)
