"""The classes that rows name, and the second texts of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from manyheads.data.ragged import RowError
from manyheads.data.source import Source
from manyheads.data.split import BATCH_ROWS, batches_of
from manyheads.errors import UserError, written


def second_texts(values: Sequence[Any]) -> list[str]:
    """Those of pairs; a missing one is the empty text. Raises RowError for what is no text."""
    for row, value in enumerate(values):
        if not isinstance(value, str | None):
            raise RowError(row, f"text_pair={written(value)} is no text")
    return [value or "" for value in values]


def labels_of(source: Source) -> list[str]:
    """The names of the classes that the rows of train have."""
    feature = source.rows("train").features["label"]
    values = set(_values(source))
    if names := names_of(feature):
        return list(names)
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {int, str, bool}:
        raise UserError(
            f"data ({source.name}): a label is a whole number or a text, and the column label holds "
            f"{' and '.join(sorted(kind.__name__ for kind in kinds))}. Set data.columns.label to the column of the classes."
        )
    return [str(value) for value in sorted(values)]


def _values(source: Source) -> Iterator[Any]:
    """Each label that stands in train. Raises UserError for a row without one."""
    row = 0
    for (values,) in batches_of(lambda: source.rows("train"), ["label"], BATCH_ROWS):
        for value in values:
            several = isinstance(value, list)
            if value is None or (several and None in value):
                raise UserError(f"data ({source.name}): row {row} of train has no label. Leave it out, or mend it.")
            classes = value if several else [value]
            if any(isinstance(one, list | dict) for one in classes):
                raise UserError(
                    f"data ({source.name}): row {row} of train: label={written(value)} is neither a class nor a list of classes. "
                    "Set data.columns.label to the column of the classes."
                )
            yield from classes
            row += 1


def name_of(value: Any, names: Sequence[str] | None) -> str:
    """The name of a class that a row gives, which may be its number among the data's names."""
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else str(value)


def names_of(feature: Any) -> Sequence[str] | None:
    """The names of the classes, where the data has them."""
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None)


def is_list(feature: Any) -> bool:
    """Whether a column holds lists of classes."""
    return hasattr(feature, "feature")
