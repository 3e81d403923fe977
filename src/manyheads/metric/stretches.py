"""Scores by the place in a text: how much a network makes of what it has read so far."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manyheads import atomic
from manyheads.batch import Batch
from manyheads.metric.confusion import OFFLINE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FIRST = 16
"""Stretch 0 has the places 1 to FIRST - 1 of a text, and stretch k those from FIRST * 2^(k - 1) to FIRST * 2^k - 1."""
MOST = 32
"""More stretches than any text has."""


class Stretch(NamedTuple):
    """What the labels at some places of all texts were worth; the label behind the first token of a text has place 1."""

    first: int
    last: int
    labels: int
    num_bytes: int  # of raw text that they stand for
    loss: float  # the sum of theirs in nats

    @property
    def nats_per_token(self) -> float:
        """The mean loss of a label."""
        return self.loss / self.labels

    @property
    def bits_per_byte(self) -> float:
        """nan where the labels stand for no byte, as those do that are ends of texts."""
        return self.loss / math.log(2) / self.num_bytes if self.num_bytes else math.nan


def bounds(stretch: int) -> tuple[int, int]:
    """The first and the last place of a stretch."""
    return (FIRST << stretch) >> 1 if stretch else 1, (FIRST << stretch) - 1


def stretches_of(batch: Batch) -> Tensor:
    """[B, T] int64, the stretch that each label of a batch is in."""
    ids = batch["input_ids"]
    positions = batch.get("positions")
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids) if positions is None else positions
    ends = torch.tensor([bounds(stretch)[1] for stretch in range(MOST)], device=ids.device)
    return torch.bucketize(places + 1, ends)


def labels_within(skip: NDArray[np.int64], length: NDArray[np.int64], stretch: int) -> tuple[NDArray, NDArray]:
    """[N] the first offset of, and how many labels of, each of N windows are in a stretch; they count from `skip` to `length`."""
    first, last = bounds(stretch)
    start = np.maximum(skip, first - 1)
    return start, np.maximum(np.minimum(length, last) - start, 0)


def stretches_figure(stretches: Sequence[Stretch]) -> Figure:
    """Bits per byte by the place in the text; nats per token stand beside each point that the pointer is on."""
    # here, since most runs draw none
    from plotly import graph_objects

    figure = graph_objects.Figure()
    figure.add_scatter(
        x=[f"{one.first}-{one.last}" for one in stretches],
        y=[None if math.isnan(one.bits_per_byte) else one.bits_per_byte for one in stretches],
        text=[f"{one.nats_per_token:.4f} nats per token, {one.labels:,} labels" for one in stretches],
        mode="lines+markers",
    )
    grid = {"gridcolor": "#e5e5e5", "zeroline": False}
    figure.update_layout(
        title={"text": "Loss by the place in the text"},
        xaxis={"title": {"text": "place of the label, from 1"}, "type": "category", **grid},
        yaxis={"title": {"text": "bits per byte"}, **grid},
        plot_bgcolor="white",
        height=520,
        font={"size": 13},
    )
    return figure


def write_stretches(stretches: Sequence[Stretch], path: Path) -> None:
    """Writes the figure as one page of HTML, and the numbers beside it as a csv of the same name; each whole, or not at all.

    Raises OSError when they cannot be written.
    """
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["first", "last", "labels", "bytes", "nats_per_token", "bits_per_byte"])
    for one in stretches:
        rows.writerow([*one[:4], one.nats_per_token, one.bits_per_byte])
    page = stretches_figure(stretches).to_html(config=OFFLINE, include_plotlyjs=True, full_html=True)
    for place, text in ((path.with_suffix(".csv"), table.getvalue()), (path, page)):
        with atomic.replacing(place) as file:
            file.write(text)


def scored_stretches(
    loss: Mapping[int, float], labels: Mapping[int, int], known: Mapping[int, tuple[int, int]]
) -> list[Stretch]:
    """Each stretch with its sum of losses, given how many labels and bytes each has by the data; none where not every label
    of the data was scored."""
    if {stretch: count for stretch, (count, _) in known.items()} != dict(labels):
        return []
    return [
        Stretch(*bounds(stretch), labels=count, num_bytes=size, loss=loss[stretch])
        for stretch, (count, size) in sorted(known.items())
    ]
