"""Sums of losses that are kept until they are asked for: of training since the last log, and of each example."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from manyheads import ranks
from manyheads.head.base import HeadOutput


class Totals:
    """The training loss since the last log: a sum and a count that stay on the device until they are taken."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._before = (0.0, 0.0)  # of an earlier process that was not logged

    def add(self, output: HeadOutput) -> None:
        """Adds one micro-batch."""
        sums = torch.stack([output.loss_sum.detach().double(), output.count.double()])
        self._sums = sums if self._sums is None else self._sums + sums

    def start_from(self, loss: float, count: float) -> None:
        """Goes on from what `peek` gave to an earlier process."""
        self._sums, self._before = None, (loss, count)

    def peek(self) -> tuple[float, float]:
        """(sum of losses in nats, label tokens) over all rows since `take` was called; one wait for the device."""
        if self._sums is None:
            return self._before
        sums = self._sums.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums, group=ranks.data_parallel())
        loss, count = sums.tolist()
        return self._before[0] + loss, self._before[1] + count

    def take(self) -> tuple[float, float]:
        """What `peek` gives; then counting starts anew."""
        taken = self.peek()
        self.start_from(0.0, 0.0)
        return taken


class ExampleSums:
    """Each example's sum of losses and count of labels, collected batch by batch, and at the end from all ranks."""

    def __init__(self) -> None:
        self.loss: dict[int, float] = {}
        self.count: dict[int, int] = {}

    def add(self, examples: Tensor, losses: Tensor) -> None:
        """Adds labels, [N] example ids and their [N] losses."""
        ids, place, counts = torch.unique(examples, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(ids), dtype=torch.float64, device="cpu").index_add_(
            0, place.cpu(), losses.double().cpu()
        )
        self._add(zip(ids.tolist(), sums.tolist(), counts.tolist(), strict=True))

    def gather(self) -> None:
        """Adds up the sums of the ranks that read different rows, in their order. To be called by all of them."""
        parts = ranks.gathered((self.loss, self.count), ranks.data_parallel())
        self.loss, self.count = {}, {}
        for loss, count in parts:
            self._add((example, loss[example], count[example]) for example in loss)

    def _add(self, sums: Iterable[tuple[int, float, int]]) -> None:
        for example, loss, count in sums:
            self.loss[example] = self.loss.get(example, 0.0) + loss
            self.count[example] = self.count.get(example, 0) + count
