"""The course of the learning rate: a rise over the first steps, then a fall that ends with the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from manyheads.errors import check_choice, check_range

Shape = Literal["cosine", "linear", "constant"]

# each falls from 1 to 0 (or stays at 1) while its argument goes from 0 to 1
_SHAPES: dict[str, Callable[[float], float]] = {
    # Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5, without restarts
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the learning rate is multiplied by. `floor` is where the fall ends, as a share of the peak.

    Warm-up is linear and never 0: the first step takes 1 / (warmup_steps + 1) of the peak (Karpathy, nanoGPT,
    train.py, get_lr). The fall begins at the peak and depends on the share of the budget that is left, so it ends in
    time whether steps, tokens or minutes limit the run.
    """

    shape: Shape = "cosine"
    warmup_steps: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Raises UserError for values out of range."""
        check_choice("optim.schedule", self.shape, get_args(Shape))
        check_range("optim.warmup_steps", self.warmup_steps, 0)
        check_range("optim.floor", self.floor, 0, 1)

    def factor(self, step: int, fraction: float) -> float:
        """The factor for the update that follows `step` done ones, with `fraction` of the budget used, 0 to 1.

        Where in the budget the warm-up ended is taken from the pace so far: `fraction * warmup_steps / step`. For a
        budget of steps that is exact, and progress is the usual (step - warmup) / (total - warmup).
        """
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        start = fraction * self.warmup_steps / step if step else 0.0
        progress = (fraction - start) / (1 - start) if start < 1 else 1.0
        return self.floor + (1 - self.floor) * _SHAPES[self.shape](min(1.0, max(0.0, progress)))
