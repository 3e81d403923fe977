"""What a baseline is: a simple rule that is fitted on training rows and answers others, to be scored as a network is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyheads.data.cache import cached

VERSION = 2
"""Counts up when the answers of a baseline change."""

TRAIN_ROWS = 100_000
"""Of a larger train, baselines are fitted on so many rows that stand evenly apart."""

Fitted = Callable[[Sequence[Any]], list[Any]]
"""From the inputs of some rows to an output for each, of the kind that the task's scores take."""

Baseline = Callable[[Sequence[Any], Sequence[Any]], Fitted]
"""From the inputs and targets of training rows to what answers others."""

Scores = Mapping[str, Mapping[str, float]]
"""For each baseline its scores, by the names of the metrics."""


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the numbers from 0 to `count` - 1, evenly apart; all of them where they are no more."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def kept(fingerprint: str, compute: Callable[[], Scores]) -> Scores:
    """What `compute` returns, from the cache where it has been computed before."""

    def make(folder: Path) -> None:
        (folder / "scores.json").write_text(json.dumps(compute()), encoding="utf-8")

    return json.loads((cached("baselines", fingerprint, make) / "scores.json").read_text(encoding="utf-8"))
