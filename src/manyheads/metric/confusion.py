"""A picture of a confusion matrix: one page of HTML that needs nothing else, for a browser without a network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from manyheads import atomic

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CELL = 36
"""Height of a row whose counts are written, in pixels; a column is twice as wide."""
SMALL_CELL = 15
"""Height and width of a cell without a count, in pixels."""
LONGEST = 28
"""Characters of a class's name beside the picture; the whole name shows under the pointer."""
WRITTEN = 30
"""With more classes, counts are only shown under the pointer."""
OFFLINE = {"showSendToCloud": False, "displaylogo": False}
"""No button that would upload the picture's data to plotly's servers, which plotly 7 has by default."""


def confusion_figure(counts: Tensor, names: Sequence[str]) -> Figure:
    """Counts [C, C], a row for each true class, a column for each predicted one, with the C names of the classes.

    A cell's colour is its share of the row, so that a rare class shows as clearly as a frequent one; its number is the
    count.
    """
    # here, since most runs draw none
    from plotly import graph_objects

    assert counts.shape == (len(names), len(names))
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    escaped = [html.escape(name) for name in names]  # plotly reads tags in its texts
    places = list(range(len(names)))
    written = len(names) <= WRITTEN
    height, width = (CELL, 2 * CELL) if written else (SMALL_CELL, SMALL_CELL)
    heatmap = graph_objects.Heatmap(
        z=shares.tolist(),
        x=places,
        y=places,
        text=counts.tolist(),
        texttemplate="%{text}" if written else "",
        customdata=[[(true, predicted) for predicted in escaped] for true in escaped],
        hovertemplate="true: %{customdata[0]}<br>predicted: %{customdata[1]}<br>%{text} (%{z:.1%} of the row)"
        "<extra></extra>",
        colorscale="Blues",
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "share of<br>the row"}, "tickformat": ".0%"},
    )
    ticks = {"tickvals": places, "ticktext": [html.escape(_short(name)) for name in names], "automargin": True}
    figure = graph_objects.Figure(heatmap)
    figure.update_layout(
        title={"text": "Confusion matrix"},
        xaxis={"title": {"text": "predicted"}, "tickangle": -45, "showgrid": False, **ticks},
        yaxis={"title": {"text": "true"}, "autorange": "reversed", "showgrid": False, **ticks},
        height=320 + height * len(names),
        width=520 + width * len(names),
        plot_bgcolor="white",
    )
    return figure


def write_confusion_matrix(counts: Tensor, names: Sequence[str], path: Path) -> None:
    """Writes the figure as one page of HTML, about 5 MB, most of it plotly; whole, or not at all.

    Raises OSError when it cannot be written.
    """
    page = confusion_figure(counts, names).to_html(config=OFFLINE, include_plotlyjs=True, full_html=True)
    with atomic.replacing(path) as file:
        file.write(page)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
