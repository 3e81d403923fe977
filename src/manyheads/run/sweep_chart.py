"""A picture of a sweep: its score against what each setting cost. One page of HTML that needs nothing else."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from manyheads.metric.confusion import OFFLINE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from manyheads.run.sweep_results import SweepResults

PANELS = {
    "run/parameters": "parameters",
    "run/train_seconds": "seconds of training",
    "perf/tokens_per_sec": "tokens/s in training",
}
"""What stands below each panel."""


def sweep_figure(found: SweepResults) -> Figure:
    """A panel for each cost: a point for each setting, the bars its interval over seeds."""
    # here, since most runs draw none
    from plotly import colors
    from plotly.subplots import make_subplots

    score = found.scores[-1]
    figure = make_subplots(rows=1, cols=len(PANELS), shared_yaxes=True, horizontal_spacing=0.03)
    palette = colors.qualitative.Safe
    settings = [setting for setting in found.settings if score in setting.numbers]
    for number, setting in enumerate(settings):
        mean = setting.numbers[score]
        for column, cost in enumerate(PANELS, start=1):
            if cost not in setting.numbers:
                continue
            name = html.escape(setting.name)  # plotly reads tags in its texts
            figure.add_scatter(
                row=1, col=column, x=[setting.numbers[cost].value], y=[mean.value], name=name, legendgroup=str(number),
                showlegend=column == 1, mode="markers",
                marker={"size": 11, "color": palette[number % len(palette)], "symbol": number // len(palette)},
                error_y={"type": "data", "array": [mean.half_width or 0.0], "thickness": 1.5},
                hovertemplate=f"{name}<br>%{{y:.4f}}<br>%{{x:,.0f}}<extra></extra>",
            )  # fmt: skip
    for column, title in enumerate(PANELS.values(), start=1):
        figure.update_xaxes(
            title_text=title, type="log", row=1, col=column, showline=True, linecolor="#444", ticks="outside"
        )
    figure.update_yaxes(showline=True, linecolor="#444", gridcolor="#e5e5e5")
    figure.update_yaxes(title_text=score.replace("_", " "), row=1, col=1)
    figure.update_layout(
        plot_bgcolor="white", width=1080, height=420, margin={"t": 20, "r": 10, "b": 50, "l": 70},
        legend={"orientation": "h", "y": -0.25}, font={"size": 13},
    )  # fmt: skip
    return figure


def chart_page(found: SweepResults) -> str:
    """The figure as one page, about 5 MB, most of it plotly."""
    return sweep_figure(found).to_html(config=OFFLINE, include_plotlyjs=True, full_html=True)
