"""Directed: pairs of texts, read from source to target, from target to source, or both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, final

from manyheads.data.derived import Derived
from manyheads.data.source import Source
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

Direction = Literal["forward", "backward", "both"]

SOURCE, TARGET = "source", "target"
SOURCE_LANGUAGE, TARGET_LANGUAGE = "source_language", "target_language"
REFERENCES = "references"


@final
class Directed(Derived):
    """The rows of `inner` with source and target as they are (forward), exchanged (backward), or first all of them as they are
    and then all exchanged (both). A row stays in its split, whichever way it is read.

    References are texts of the target, so an exchanged row has none. Rows without the column target ask for a translation
    of their source, whatever the direction, and stay as they are.

    Args:
        inner: pairs, with or without the columns of their languages.
        direction: forward, backward or both.
        languages: of source and target. Both directions say them in columns, unless the rows have such already.
    """

    def __init__(self, inner: Source, direction: Direction, languages: Sequence[str] | None) -> None:
        super().__init__(inner)
        self.fields = inner.fields
        self._load = {"forward": self._forward, "backward": self._backward, "both": self._both}[direction]
        self._said = {
            "forward": [],
            "backward": ["task.direction=backward: source and target change places"],
            "both": ["task.direction=both: each row is two examples, one each way"],
        }[direction]
        self._languages = languages

    @property
    def notes(self) -> list[str]:
        """Those of `inner`, and which way its rows are read."""
        return [*self.inner.notes, *self._said]

    def load(self, split: str) -> Dataset:
        """The rows, as the direction has them."""
        return self._load(super().load(split))

    def _forward(self, rows: Dataset) -> Dataset:
        return rows

    def _backward(self, rows: Dataset) -> Dataset:
        if TARGET not in rows.column_names:
            return rows
        there = [name for name in (SOURCE_LANGUAGE, TARGET_LANGUAGE) if name in rows.column_names]
        if there == [TARGET_LANGUAGE]:
            raise UserError(
                f"data ({self.name}): the rows say their {TARGET_LANGUAGE} and no {SOURCE_LANGUAGE}, which an exchanged row "
                f"is translated to. Set data.columns.{SOURCE_LANGUAGE}, or task.direction=forward."
            )
        names = {SOURCE: TARGET, TARGET: SOURCE}
        if there:
            names |= {SOURCE_LANGUAGE: TARGET_LANGUAGE, TARGET_LANGUAGE: SOURCE_LANGUAGE}
        kept = rows.remove_columns([name for name in [REFERENCES] if name in rows.column_names])
        # in two steps, for a name that is taken cannot be given
        kept = kept.rename_columns({old: f"{old}_" for old in names})
        return kept.rename_columns({f"{old}_": new for old, new in names.items()})

    def _both(self, rows: Dataset) -> Dataset:
        from datasets import Value, concatenate_datasets

        if TARGET_LANGUAGE not in rows.column_names and self._languages is not None:
            for name, language in zip((SOURCE_LANGUAGE, TARGET_LANGUAGE), self._languages, strict=True):
                rows = _with_constant(rows, name, language, Value("string"))
        if TARGET not in rows.column_names:
            return rows
        exchanged = self._backward(rows)
        if REFERENCES in rows.column_names:
            exchanged = _with_constant(exchanged, REFERENCES, None, rows.features[REFERENCES])
        exchanged = exchanged.select_columns(rows.column_names)
        if exchanged.features != rows.features:  # texts of two Arrow types
            exchanged = exchanged.cast(rows.features, keep_in_memory=True)
        return concatenate_datasets([rows, exchanged])


def _with_constant(rows: Dataset, name: str, value: Any, feature: Any) -> Dataset:
    """The rows with one more column, the same in each of them."""
    import pyarrow as pa
    from datasets import Dataset, Features
    from datasets.table import InMemoryTable, concat_tables

    # `add_column` would write rows that were selected anew, beside their files
    features: Mapping[str, Any] = Features({name: feature})
    kind = Features(features).arrow_schema.field(name).type
    column = pa.repeat(pa.scalar(value, kind), rows.data.num_rows)
    table = concat_tables([rows.data, InMemoryTable(pa.table({name: column}))], axis=1)
    info = rows.info.copy()
    info.features = Features({**rows.features, **features})
    return Dataset(table, info=info, indices_table=rows._indices)
