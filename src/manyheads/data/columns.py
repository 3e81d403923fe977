"""From the columns of a data set to the fields of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from manyheads.data.fields import TEXT, Fields
from manyheads.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

_TEXT_TYPES = ("string", "large_string", "string_view")


class Columns(NamedTuple):
    """What the fields are called in a data set.

    Attributes:
        text_column: the column of the field text.
        named: the column of each other field that is not called as the field; `translation.de` is the value de of the
            mappings in the column translation.
        labels: the names of the classes, where the column of the field label holds numbers.
    """

    text_column: str = "text"
    named: Mapping[str, str] = {}
    labels: Sequence[str] | None = None

    @property
    def key(self) -> list[Any]:
        """What stands for them in a fingerprint."""
        return [self.text_column] + (
            [dict(self.named), self.labels and list(self.labels)] if self != self.plain else []
        )

    @property
    def plain(self) -> Columns:
        """The same text column and nothing else."""
        return Columns(self.text_column)

    def of(self, field: str) -> str:
        """The column of a field."""
        return self.named.get(field, self.text_column if field == "text" else field)

    def setting(self, field: str) -> str:
        """The key that says which column a field is."""
        return "data.text_column" if field == "text" and field not in self.named else f"data.columns.{field}"


def with_fields(rows: Dataset, fields: Fields, columns: Columns, where: str) -> Dataset:
    """The rows with each field in a column of its name. Where the text alone is read, other columns stay as they are.

    Raises UserError when a column is not there, naming those that are, or does not hold texts where it should.
    """
    known = {*fields.required, *fields.optional}
    for field in columns.named:
        if field not in known and fields != TEXT:
            raise UserError(
                f"data.columns.{field}: the task reads no {field}.{did_you_mean(field, known)} "
                f"Its fields are {', '.join(sorted(known))}."
            )
    for field in fields.required:
        rows = _check(rows, field, columns, where, text=field in fields.plain_texts)
    for path in fields.texts:
        _check_items(rows, path, columns, where)
    if fields == TEXT:
        return _renamed_text(rows, columns.of("text"))
    there = [field for field in fields.optional if field in columns.named or columns.of(field) in rows.column_names]
    for field in there:
        rows = _check(rows, field, columns, where, text=False)
    names = {field: columns.of(field) for field in (*fields.required, *there)}
    found = _select(rows, names)
    return _named_labels(found, columns.labels) if columns.labels and "label" in names else found


def _select(rows: Dataset, names: Mapping[str, str]) -> Dataset:
    """The columns under their fields' names; one column can be two fields."""
    import datasets

    parts = [rows.select_columns([column]).rename_column(column, field) if column != field
             else rows.select_columns([column]) for field, column in names.items()]  # fmt: skip
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts, axis=1)


def _check(rows: Dataset, field: str, columns: Columns, where: str, *, text: bool) -> Dataset:
    """The rows, whose column of the field is there and of the right kind."""
    column, key = columns.of(field), columns.setting(field)
    if column not in rows.column_names and column.partition(".")[0] in rows.column_names:
        rows = rows.flatten()
    texts = [name for name, feature in rows.features.items() if getattr(feature, "dtype", None) in _TEXT_TYPES]
    there = ", ".join(rows.column_names)
    if column not in rows.column_names:
        instead = "" if key == "data.text_column" else f" Set {key} to the one that holds the {field}."
        raise UserError(
            f"{key}={column} is no column of {where}.{did_you_mean(column, rows.column_names)} It has: {there}.{instead}"
        )
    if text and column not in texts:
        kind = _kind(rows.features[column])
        instead = f"Columns with text: {', '.join(texts)}" if texts else "No column has text"
        raise UserError(f"{key}={column} of {where} holds no text but {kind}. {instead}.")
    return rows


def _check_items(rows: Dataset, path: str, columns: Columns, where: str) -> None:
    """Raises UserError unless the column of `messages.content` holds lists whose items have a text called content."""
    field, _, inner = path.partition(".")
    if not inner:
        return
    column = columns.of(field)
    feature = rows.features[column]
    item = getattr(feature, "feature", None)
    found = item.get(inner) if isinstance(item, Mapping) else None
    if getattr(found, "dtype", None) in (*_TEXT_TYPES, "null"):
        return
    if isinstance(item, Mapping):
        said = f"has no {inner}" if found is None else f"has no text as {inner} but {_kind(found)}"
        wrong = f"an item of it {said}"
    else:
        wrong = f"it holds {_kind(feature) if item is None else f'lists of {_kind(item)}'}"
    raise UserError(
        f"{columns.setting(field)}={column} of {where} is no list of items with a text {inner}: {wrong}. "
        "Set the column that holds such lists, or mend the data."
    )


def _kind(feature: Any) -> str:
    return getattr(feature, "dtype", None) or type(feature).__name__


def _renamed_text(rows: Dataset, column: str) -> Dataset:
    if column == "text":
        return rows
    return (rows.remove_columns("text") if "text" in rows.column_names else rows).rename_column(column, "text")


def _named_labels(rows: Dataset, labels: Sequence[str]) -> Dataset:
    from datasets import ClassLabel, Dataset, Value

    feature = rows.features["label"]
    if isinstance(feature, ClassLabel):
        return rows
    if not str(getattr(feature, "dtype", "")).startswith("int"):
        raise UserError(
            f"data.labels=[{','.join(labels)}] names classes that are numbers, and the column label holds "
            f"{getattr(feature, 'dtype', type(feature).__name__)}. Set data.labels=null."
        )
    highest = max((value for value in rows["label"] if value is not None), default=0)
    if highest >= len(labels):
        raise UserError(
            f"data.labels=[{','.join(labels)}] names {len(labels)} classes, and there is a label {highest}. "
            "Set a name for each number from 0 on."
        )
    features = rows.features.copy()
    features["label"] = ClassLabel(names=list(labels))
    if feature != Value("int64"):
        return rows.cast(features, keep_in_memory=True)
    # `cast` would write the rows anew beside their files
    info = rows.info.copy()
    info.features = features
    return Dataset(rows.data, info=info, indices_table=rows._indices)
