import re
from pathlib import Path

import torch

from manyheads.metric.confusion import LONGEST, WRITTEN, confusion_figure, write_confusion_matrix

COUNTS = torch.tensor([[6, 2], [0, 0]])


def test_cells_have_counts_and_shares_of_their_row() -> None:
    """Guards against shares of the column, and against 0 / 0 for a class that no example has."""
    figure = confusion_figure(COUNTS, ["yes", "no"])
    heatmap = figure.data[0]
    assert [list(row) for row in heatmap.text] == [[6, 2], [0, 0]]
    assert [list(row) for row in heatmap.z] == [[0.75, 0.25], [0, 0]]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("predicted", "true")
    assert [tuple(cell) for cell in heatmap.customdata[0]] == [("yes", "yes"), ("yes", "no")]
    assert figure.layout.yaxis.autorange == "reversed"  # the first class on top, as in the tensor


def test_names_are_shown_as_they_are() -> None:
    """plotly takes <b> and & for markup. A long name is cut beside the picture, and whole under the pointer."""
    names = ["<b>R&D</b>", "&" * (LONGEST + 1)]
    figure = confusion_figure(COUNTS, names)
    assert list(figure.layout.xaxis.ticktext) == ["&lt;b&gt;R&amp;D&lt;/b&gt;", "&amp;" * (LONGEST - 1) + "…"]
    assert figure.layout.yaxis.ticktext == figure.layout.xaxis.ticktext
    assert tuple(figure.data[0].customdata[0][1]) == ("&lt;b&gt;R&amp;D&lt;/b&gt;", "&amp;" * (LONGEST + 1))


def test_many_classes_are_drawn_small_and_without_numbers() -> None:
    size = WRITTEN + 1
    few, many = (confusion_figure(torch.eye(n), [str(c) for c in range(n)]) for n in (WRITTEN, size))
    assert (few.data[0].texttemplate, many.data[0].texttemplate) == ("%{text}", "")
    assert many.layout.width < few.layout.width


def test_the_page_needs_no_network_and_sends_nothing(tmp_path: Path) -> None:
    """plotly 7 has a button that uploads a picture's data; here it is off."""
    write_confusion_matrix(COUNTS, ["体育", "财经"], tmp_path / "confusion.html")
    page = (tmp_path / "confusion.html").read_text(encoding="utf-8")
    drawn = page[page.rindex("Plotly.newPlot") :]
    assert re.search(r"体育|\\u4f53\\u80b2", drawn)
    assert '"showSendToCloud": false' in drawn
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", page[:300] + drawn) == []
    assert len(page) > 1_000_000  # plotly itself is in it
    assert list(tmp_path.iterdir()) == [tmp_path / "confusion.html"]
