"""Running averages of weights: exponential, or of equal shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

Kind = Literal["ema", "swa"]

STARTS: dict[str, float] = {"ema": 0.0, "swa": 0.75}
"""The share of the budget after which each begins when nothing else is said; SWA's is that of Izmailov et al. 2018."""


class RunningAverage:
    """The average of the weights after each step from `start` on, as torch.optim.swa_utils averages them.

    swa gives each step an equal share: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", 2018, algorithm 1; the learning rate follows the run's own schedule. ema is average = d * average +
    (1 - d) * weights, where d rises as (1 + n) / (10 + n), n = 0, 1, ..., up to `decay`, so that a short run is not held
    at its first weights (TensorFlow, tf.train.ExponentialMovingAverage, num_updates).

    Attributes:
        start: the share of the budget after which averaging begins.
        averages: a tensor for each parameter; empty before the start.
        count: how many steps they are over.
    """

    def __init__(self, kind: Kind, *, decay: float = 0.999, start: float | None = None) -> None:
        self.kind: Kind = kind
        self.decay = decay
        self.start = STARTS[kind] if start is None else start
        self.averages: list[Tensor] = []
        self.count = 0

    @torch.no_grad()
    def update(self, weights: Sequence[Tensor]) -> None:
        """Takes in the weights after a step; the same ones in the same order each time."""
        if self.averages:
            _UPDATES[self.kind](self)(self.averages, [weight.detach() for weight in weights], self.count)
        else:
            self.averages = [weight.detach().clone() for weight in weights]
        self.count += 1


_UPDATES: dict[str, Callable[[RunningAverage], Callable[..., None]]] = {
    # count - 1, since the first weights were taken as they are
    "ema": lambda average: get_ema_multi_avg_fn(min(average.decay, average.count / (9 + average.count))),
    "swa": lambda average: get_swa_multi_avg_fn(),
}
