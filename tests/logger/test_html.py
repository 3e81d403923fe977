"""Guards markup in a text, which would be shown as markup or run."""

from manyheads.logger.html import html_table


def test_cells_are_shown_as_they_are() -> None:
    page = html_table(["a<b"], [["<script>x</script>\n  y"], [3]])
    assert page.endswith(
        "<table><tr><th>a&lt;b</th></tr><tr><td>&lt;script&gt;x&lt;/script&gt;\n  y</td></tr><tr><td>3</td></tr></table>"
    )
    assert "pre-wrap" in page
