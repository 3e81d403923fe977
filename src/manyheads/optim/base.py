"""What every builder of an optimizer returns, and the checks and choices that they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

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


def can_fuse(parameters: Iterable[Parameter]) -> bool:
    """Whether torch's fused kernels take these parameters: they are real and on a device, not on `meta`."""
    return all(p.is_floating_point() and p.device.type != "meta" for p in parameters)


def leave_unscaling_outside(optimizer: Optimizer) -> Optimizer:
    """Lets whoever trains with float16 unscale the gradients before the step, and returns the optimizer.

    A fused optimizer offers to unscale them itself; gradients could then be neither clipped nor normalised before it.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer
