"""Guards markup in a text, which a browser would show as markup or run."""

from manyheads.logger.html import html_table


def test_texts_are_shown_as_they_are() -> None:
    page = html_table(["step", "<text>"], [[3, "<b>&amp;\n  \N{GRINNING FACE}"], ["4", "x"]])
    assert page.endswith(
        "<table><tr><th>step</th><th>&lt;text&gt;</th></tr>"
        "<tr><td>3</td><td>&lt;b&gt;&amp;amp;\n  \N{GRINNING FACE}</td></tr><tr><td>4</td><td>x</td></tr></table>"
    )
    assert 'charset="utf-8"' in page
