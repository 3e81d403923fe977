"""Rows of text as a page of HTML that shows them as they are."""

from __future__ import annotations

import html
from collections.abc import Sequence

_PAGE = """<!doctype html><meta charset="utf-8"><style>
body { font: 13px system-ui, sans-serif; margin: 8px } table { border-collapse: collapse }
th, td { text-align: left; vertical-align: top; padding: 4px 12px; border-bottom: 1px solid #ccc; white-space: pre-wrap }
</style>"""


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A page with one table in which line breaks and runs of spaces stay as they are."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"{_PAGE}<table><tr>{head}</tr>{body}</table>"
