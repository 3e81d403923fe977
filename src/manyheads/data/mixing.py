"""In which order the rows of several sources are taken, or the steps of several tasks, so that each gets its share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from manyheads.errors import UserError, did_you_mean, written


def interleaved(rates: Sequence[float], total: int) -> NDArray[np.int64]:
    """[total] the part that each row comes from, given the share of the rows of each part.

    Row k of a part, from 0, stands at (k + 1/2) / rate, and the row of a lower part first where two meet: so parts are
    spread evenly, and each has its share of every beginning, to within a row when there are two parts.

    Source: the method of Webster and Sainte-Laguë; Balinski and Young, "Fair Representation", 1982.
    """
    counts = [int(np.ceil(rate * total)) + 1 if rate else 0 for rate in rates]
    at = [(np.arange(count) + 0.5) / rate for rate, count in zip(rates, counts, strict=True) if count]
    parts = np.repeat(np.arange(len(counts)), counts)
    return parts[np.argsort(np.concatenate(at), kind="stable")[:total]]


def checked_weights(weights: Mapping[str, Any], names: Iterable[str], *, key: str, what: str) -> dict[str, float]:
    """The weights in the order of the names of what is mixed. Raises UserError, naming `key`, for what are no shares."""
    there = list(names)
    for name, weight in weights.items():
        if name not in there:
            raise UserError(
                f"{key}.{name}={written(weight)}: there is no {what} {name}.{did_you_mean(name, there)} "
                f"There are: {', '.join(there)}."
            )
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight < math.inf:
            raise UserError(f"{key}.{name}={written(weight)}: set a number of at least 0.")
    lacking = [name for name in there if name not in weights]
    if lacking:
        raise UserError(f"{key} has none for {', '.join(lacking)}: set {key}.{lacking[0]}, 0 for none.")
    if not any(weights.values()):
        raise UserError(f"{key} are all 0: nothing would be trained on. Set one above 0.")
    return {name: float(weights[name]) for name in there}


@final
class MixedOrder:
    """The rows of each epoch, of parts whose rows are numbered one part after the other.

    An epoch is as many rows as the parts that are drawn from have together. A part goes on in the next epoch where it was
    left in this one, and begins anew, in another order, when it is used up. Unshuffled, each epoch is like the first.

    Args:
        sizes: rows of each part.
        tokens: labels of each part.
        weights: the share of the labels of each part, in any unit; None: each part as large as it is.
        seed: with the part and its pass, what an order is made from.
        shuffle: whether the rows of a part are permuted in each pass.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        tokens: Sequence[int],
        weights: Sequence[float] | None,
        *,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.sizes = np.asarray(sizes)
        self.seed = seed
        self.shuffle = shuffle
        wanted = np.asarray(tokens if weights is None else weights, np.float64)
        # a part whose rows hold half the tokens has to give twice the rows
        rates = wanted / (np.asarray(tokens) / self.sizes)
        self.pattern = interleaved((rates / rates.sum()).tolist(), int(self.sizes[wanted > 0].sum()))
        self.per_epoch = np.bincount(self.pattern, minlength=len(sizes))  # [P] rows of each part

    def __len__(self) -> int:
        """Rows of an epoch."""
        return len(self.pattern)

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """[rows of an epoch] the numbers of its rows."""
        rows = np.empty(len(self), np.int64)
        first = self.sizes.cumsum() - self.sizes
        for part, count in enumerate(self.per_epoch.tolist()):
            rows[self.pattern == part] = first[part] + self._taken(part, epoch * count if self.shuffle else 0, count)
        return rows

    def passes(self, epoch: int, rows: int) -> NDArray[np.float64]:
        """[P] how many times each part was gone through, so many rows into an epoch."""
        now = np.bincount(self.pattern[:rows], minlength=len(self.sizes))
        return (epoch * self.per_epoch + now) / self.sizes

    def _taken(self, part: int, start: int, count: int) -> NDArray[np.int64]:
        """[count] the rows of a part from the `start`-th that it gives on, over all passes."""
        size = int(self.sizes[part])
        passes = range(start // size, -(-(start + count) // size))
        orders = [self._order(part, number) for number in passes]
        return np.concatenate([*orders, np.zeros(0, np.int64)])[start % size :][:count]

    def _order(self, part: int, number: int) -> NDArray[np.int64]:
        size = int(self.sizes[part])
        return np.random.default_rng([self.seed, part, number]).permutation(size) if self.shuffle else np.arange(size)
