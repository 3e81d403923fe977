"""The course of the learning rate: a rise over the first steps, then a fall that ends with the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from manyheads.errors import UserError, check_choice, check_range

Shape = Literal["cosine", "linear", "constant", "wsd", "inverse_sqrt", "one_cycle"]
DecayShape = Literal["1-sqrt", "linear"]

UNKNOWN_PACE = 0.01
"""The share of the peak that the first step takes where nothing says how many steps a fraction of the budget will be."""


class Place(NamedTuple):
    """Where in its course an update is."""

    fraction: float  # of the budget that is used before it
    start: float  # the fraction at which the warm-up ends
    rise: float  # the share of the warm-up that is over; what it says after the warm-up has no meaning
    ratio: float  # number of this update over that of the first one at the peak: below 1 means warm-up

    @property
    def progress(self) -> float:
        """The share that is over of what follows on the warm-up, 0 to 1."""
        return _share(self.fraction, self.start)


@dataclass(frozen=True, kw_only=True)
class Course:
    """What the learning rate is multiplied by.

    The warm-up is linear and never 0: the first step takes 1 / (warmup_steps + 1) of the peak (Karpathy, nanoGPT,
    train.py, get_lr). The fall begins at the peak and depends on the share of the budget that is left, so it ends in
    time whether steps, epochs, tokens or minutes limit the run.

    Attributes:
        schedule: cosine, linear and constant say how the fall goes. wsd is warm-up, stable, decay: the peak, until
            `decay_fraction` of the budget is left (Hu et al., "MiniCPM", 2024, section 4.1). inverse_sqrt falls with the
            square root of the step, whatever the budget, and not below the floor (Vaswani et al., "Attention Is All You
            Need", 2017, equation 3). one_cycle warms up along a cosine from 1/25 of the peak and falls along another
            (Smith and Topin, "Super-Convergence", 2018, with the constants of torch's OneCycleLR; momentum stays).
        warmup_steps: steps before the peak.
        warmup_fraction: the share of the budget before the peak, in the place of `warmup_steps`.
        floor: where the fall ends, as a share of the peak.
        decay_fraction: the share of the budget in which wsd falls.
        decay_shape: how wsd falls: 1-sqrt (Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
            Training Durations", 2024, section 3.2) or linear.
    """

    schedule: Shape = "cosine"
    warmup_steps: int | None = None
    warmup_fraction: float | None = None
    floor: float = 0.0
    decay_fraction: float = 0.2
    decay_shape: DecayShape = "1-sqrt"

    def __post_init__(self) -> None:
        """Raises UserError for values out of range and for two lengths of the warm-up."""
        check_choice("optim.schedule", self.schedule, get_args(Shape))
        check_choice("optim.decay_shape", self.decay_shape, get_args(DecayShape))
        check_range("optim.floor", self.floor, 0, 1)
        check_range("optim.decay_fraction", self.decay_fraction, 0, 1)
        if self.warmup_steps is not None:
            check_range("optim.warmup_steps", self.warmup_steps, 0)
        if self.warmup_fraction is None:
            return
        check_range("optim.warmup_fraction", self.warmup_fraction, 0, 1)
        if self.warmup_steps is not None:
            raise UserError(
                f"optim.warmup_fraction={self.warmup_fraction} and optim.warmup_steps={self.warmup_steps}: "
                "a run has one warm-up. Set optim.warmup_steps=null or optim.warmup_fraction=null."
            )
        if self.schedule == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise UserError(
                f"optim.warmup_fraction={self.warmup_fraction} and optim.decay_fraction={self.decay_fraction} "
                "are more than the whole budget. Set them to 1 or less together."
            )

    def factor(self, step: int, fraction: float, total_steps: float = math.inf) -> float:
        """The factor for the update that follows `step` done ones, with `fraction` of the budget used, 0 to 1.

        `total_steps` are those that the limits on steps and epochs allow.
        """
        place = self._place(step, fraction, total_steps)
        if place.ratio < 1:
            return _RISES.get(self.schedule, _linear_rise)(place)
        return _FALLS[self.schedule](self, place)

    def _place(self, step: int, fraction: float, total_steps: float) -> Place:
        """Where in the budget the warm-up of so many steps ended is taken from the pace so far, `fraction / step`, and
        so is the number of steps that a fraction comes to. For a budget of steps that is exact, and progress is the
        usual (step - warmup) / (total - warmup).
        """
        if self.warmup_fraction is None:
            warmup = self.warmup_steps or 0
            start = fraction * warmup / step if step else 0.0
            return Place(fraction, start, step / warmup if warmup else 1.0, (step + 1) / (warmup + 1))
        one = fraction / step if step else 1 / total_steps  # of the budget, that a step takes
        if fraction >= self.warmup_fraction:
            ratio = (fraction + one) / (self.warmup_fraction + one) if one else 1.0
            return Place(fraction, self.warmup_fraction, 1.0, max(1.0, ratio))
        ratio = (fraction + one) / (self.warmup_fraction + one) if one else UNKNOWN_PACE
        return Place(fraction, self.warmup_fraction, fraction / self.warmup_fraction, ratio)


@dataclass(frozen=True, kw_only=True)
class CourseToZero(Course):
    """A warm-up and a fall to nothing."""

    warmup_steps: int | None = 100


@dataclass(frozen=True, kw_only=True)
class CourseToTenth(Course):
    """A warm-up and a fall to a tenth of the peak."""

    warmup_steps: int | None = 100
    floor: float = 0.1


def _share(fraction: float, start: float) -> float:
    """How much of the way from `start` to 1 is behind, 0 to 1."""
    return min(1.0, max(0.0, (fraction - start) / (1 - start))) if start < 1 else 1.0


def _linear_rise(place: Place) -> float:
    return place.ratio


def _one_cycle_rise(place: Place) -> float:
    # torch.optim.lr_scheduler.OneCycleLR, div_factor=25 and anneal_strategy="cos"
    return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * place.rise))


_RISES: dict[str, Callable[[Place], float]] = {"one_cycle": _one_cycle_rise}
"""Those that are not linear."""


def _falling(curve: Callable[[float], float]) -> Callable[[Course, Place], float]:
    """The fall to the floor of a curve from 1 to 0 (or one that stays at 1) while its argument goes from 0 to 1."""
    return lambda schedule, place: schedule.floor + (1 - schedule.floor) * curve(place.progress)


def _wsd(schedule: Course, place: Place) -> float:
    # a warm-up in steps may end later than the decay should begin
    progress = _share(place.fraction, max(1 - schedule.decay_fraction, place.start))
    return schedule.floor + (1 - schedule.floor) * _DECAYS[schedule.decay_shape](progress)


def _inverse_sqrt(schedule: Course, place: Place) -> float:
    return max(schedule.floor, place.ratio**-0.5)


def _cosine(progress: float) -> float:
    # Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5, without restarts
    return 0.5 * (1 + math.cos(math.pi * progress))


_DECAYS: dict[str, Callable[[float], float]] = {
    "1-sqrt": lambda progress: 1 - math.sqrt(progress),
    "linear": lambda progress: 1 - progress,
}

_FALLS: dict[str, Callable[[Course, Place], float]] = {
    "cosine": _falling(_cosine),
    "linear": _falling(_DECAYS["linear"]),
    "constant": _falling(lambda progress: 1.0),
    "wsd": _wsd,
    "inverse_sqrt": _inverse_sqrt,
    "one_cycle": _falling(_cosine),
}
