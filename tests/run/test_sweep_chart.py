"""The chart's page: see test_sweep_results.py for what is in it."""

from __future__ import annotations

from typing import Any

from manyheads.run.interval import Mean
from manyheads.run.sweep_chart import chart_page, sweep_figure
from manyheads.run.sweep_results import Setting, SweepResults


def test_a_setting_without_the_score_has_no_point_and_the_page_needs_no_network() -> None:
    numbers = {"val/loss": Mean(1.0, 0.1, 3), "run/parameters": Mean(9.0, None, 1)}
    found = SweepResults("val/loss", [Setting("model=a", [], numbers), Setting("model=b", [], {})])
    figure: Any = sweep_figure(found)
    assert [point.name for point in figure.data] == ["model=a"]
    assert 'src="http' not in chart_page(found)
