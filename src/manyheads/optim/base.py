"""What every builder of an optimizer returns, and the checks and choices that they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from manyheads import sharded
from manyheads.errors import UserError, check_range
from manyheads.marks import builder_with
from manyheads.optim.schedule import Course


class AveragingOptimizer(Optimizer):
    """An optimizer that steps at other weights than those that are worth evaluating."""

    @abstractmethod
    def averages(self) -> dict[Parameter, Tensor]:
        """The weights to evaluate in the place of each parameter that has been stepped on."""


class Optimization(NamedTuple):
    """An optimizer and the course of its learning rates."""

    optimizer: Optimizer
    schedule: Course


def optimizer_builder(course: type[Course]) -> Callable[[Callable[..., Optimizer]], Callable[..., Optimization]]:
    """Marks a function as one that builds an optimizer, and gives it the keyword arguments of `course` besides its own."""
    return builder_with(course, Optimization)


SETTINGS = ("initial_lr", "betas", "eps", "momentum", "nesterov", "weight_decay")
"""What a user sets of a group of parameters; the rest of a group is state, or follows from these."""


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of each group, once a schedule has noted each `initial_lr`."""
    return [{name: group[name] for name in SETTINGS if name in group} for group in optimizer.param_groups]


def set_again(optimizer: Optimizer, schedule: LambdaLR, asked: Sequence[dict[str, Any]]) -> None:
    """Gives each group the settings of `settings_of` where loading a checkpoint has put those of an earlier process.

    A group whose settings are the same is not touched, so that its rate stays what it was to the bit.
    """
    for i, (group, settings) in enumerate(zip(optimizer.param_groups, asked, strict=True)):
        changed = {name: value for name, value in settings.items() if not _same(group[name], value)}
        group.update(changed)
        if "initial_lr" in changed:
            schedule.base_lrs[i] = group["initial_lr"]
            group["lr"] = group["initial_lr"] * schedule.lr_lambdas[i](schedule.last_epoch)


def _same(one: Any, other: Any) -> bool:
    return list(one) == list(other) if isinstance(one, list | tuple) else one == other


def check_betas(betas: Sequence[float]) -> tuple[float, float]:
    """The two decay rates of Adam's averages. Raises UserError unless each is at least 0 and below 1."""
    good = [isinstance(beta, int | float) and 0 <= beta < 1 for beta in betas]
    if len(good) != 2 or not all(good):
        raise UserError(f"optim.betas={list(betas)}: set two numbers of at least 0 and below 1.")
    return float(betas[0]), float(betas[1])


def check_at_least_zero(**settings: float) -> None:
    """Raises UserError for a setting of `optim` that is below 0 or no number."""
    for name, value in settings.items():
        check_range(f"optim.{name}", value, 0)


def can_fuse(*groups: Sequence[Parameter]) -> bool:
    """Whether torch's fused kernels take these groups of parameters: they are real and on a device, not on `meta`, and each
    rank holds a part of all in a group, or of none."""
    return all(
        sharded.are_alike(group) and all(p.is_floating_point() and p.device.type != "meta" for p in group)
        for group in groups
    )


def leave_unscaling_outside(optimizer: Optimizer) -> Optimizer:
    """Lets whoever trains with float16 unscale the gradients before the step, and returns the optimizer.

    A fused optimizer offers to unscale them itself; gradients could then be neither clipped nor normalised before it.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer
