"""The column that holds a row's text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manyheads.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

_TEXT_TYPES = ("string", "large_string", "string_view")


def with_text(rows: Dataset, text_column: str, where: str) -> Dataset:
    """The rows with their text in the column "text"; another column of that name is dropped.

    Raises UserError when the column is not there, naming those that are, or does not hold texts.
    """
    texts = [name for name, feature in rows.features.items() if getattr(feature, "dtype", None) in _TEXT_TYPES]
    columns = ", ".join(rows.column_names)
    if text_column not in rows.column_names:
        raise UserError(
            f"data.text_column={text_column} is no column of {where}.{did_you_mean(text_column, rows.column_names)} "
            f"It has: {columns}."
        )
    if text_column not in texts:
        kind = getattr(rows.features[text_column], "dtype", None) or type(rows.features[text_column]).__name__
        instead = f"Columns with text: {', '.join(texts)}" if texts else "No column has text"
        raise UserError(f"data.text_column={text_column} of {where} holds no text but {kind}. {instead}.")
    if text_column == "text":
        return rows
    return (rows.remove_columns("text") if "text" in rows.column_names else rows).rename_column(text_column, "text")
