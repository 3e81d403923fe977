"""Given: rows that a trained model is asked about, as they come: from a file, from a pipe or from a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from manyheads.data.cache import fingerprint
from manyheads.data.columns import Columns, with_fields
from manyheads.data.files import FORMATS
from manyheads.data.paths import near, suffix_of
from manyheads.data.reading import decoded
from manyheads.data.source import Source
from manyheads.data.tables import check_delimiter, read_shards, write_texts
from manyheads.errors import UserError, disk_fault

if TYPE_CHECKING:
    from datasets import Dataset

SPLIT = "test"


@final
class Given(Source):
    """A test split alone. The columns that a run's data had are looked for; of those that are optional, the ones there."""

    def __init__(self, rows: Dataset, *, name: str, columns: Columns) -> None:
        super().__init__(name=name, join_rows=False, validation_fraction=0.0)
        self._rows = rows
        self._columns = columns

    @property
    def fingerprint(self) -> str:
        return fingerprint("given", self._rows._fingerprint)

    @property
    def given(self) -> tuple[str, ...]:
        return (SPLIT,)

    def load(self, split: str) -> Dataset:
        names = self._rows.column_names
        named = {
            field: column
            for field, column in self._columns.named.items()
            if field in self.fields.required or column in names or column.partition(".")[0] in names
        }
        return with_fields(self._rows, self.fields, self._columns._replace(named=named), self.name)


def given_rows(rows: Iterable[Mapping[str, Any]], columns: Columns, name: str = "rows") -> Given:
    """Rows of a program, in memory; a column that a row lacks is null there. Raises UserError where there are none."""
    from datasets import Dataset

    held = list(rows)
    for number, row in enumerate(held):
        if not isinstance(row, Mapping):
            raise UserError(f"{name}: row {number} is no mapping from columns to values, such as {{'text': '...'}}.")
    if not held:
        raise UserError(f"{name} has no row. Give one at least.")
    names = dict.fromkeys(str(column) for row in held for column in row)
    try:
        made = Dataset.from_dict({column: [row.get(column) for row in held] for column in names})
    except UnicodeEncodeError as error:
        sign = error.object[error.start].encode("ascii", "backslashreplace").decode()
        raise UserError(
            f"{name}: a text holds {sign}, which is half a character. Mend the row, or leave it out."
        ) from error
    except (TypeError, ValueError, OverflowError) as error:  # what pyarrow raises of values that are no column
        raise UserError(f"{name}: a column has values of several kinds ({str(error).splitlines()[0]}).") from error
    return Given(made, name=name, columns=columns)


def json_rows(lines: Iterable[str], name: str) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines, blank ones passed over. Raises UserError that names the line which is none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{name}, line {number} is no JSON: {error.msg} at column {error.colno}.") from error
        if not isinstance(row, dict):
            raise UserError(f'{name}, line {number} is no object: write {{"text": "..."}} for each row.')
        yield row


def given_file(
    path: Path, columns: Columns, folder: Path, *, text_field: str, encoding: str = "utf-8", delimiter: str = ","
) -> Given:
    """Rows of a text, JSON, CSV or parquet file, laid down in `folder` so that memory stays flat.

    Each line of a text file is a row, whose field `text_field` it is. Raises UserError, naming the key input, for a file that
    is not there, is empty or is not what its ending says.
    """
    endings = {ending: kind for kind, made in FORMATS.items() for ending in made.suffixes}
    kind = endings.get(suffix_of(path))
    if not path.is_file():
        raise UserError(
            f"input={path}: " + (f"there is no such file.{near(path)}" if not path.exists() else "is no file.")
        )
    if kind is None:
        raise UserError(f"input={path}: the ending says no format. Name the file with one of {', '.join(endings)}.")
    if not path.stat().st_size:
        raise UserError(f"input={path} is empty. Set a file with rows.")
    try:
        if kind == "text":
            write_texts(_lines(path, encoding), folder)
            columns = columns._replace(text_column="text", named={text_field: "text"})
        else:
            settings = dict(FORMATS[kind].settings)
            if "sep" in settings:
                settings["sep"] = check_delimiter(delimiter)
            FORMATS[kind].write(kind, [path], encoding, folder, **settings)
        rows = read_shards(folder)
    except UserError as error:
        raise UserError(str(error).replace("data.path", "input")) from error
    except OSError as error:
        fault = disk_fault(error)
        raise UserError(
            f"input={path} cannot be read: {fault.what if fault else error.strerror}. Set another file."
        ) from error
    if not len(rows):
        raise UserError(f"input={path} has no row. Set a file with rows.")
    return Given(rows, name=str(path), columns=columns)


def _lines(path: Path, encoding: str) -> Iterator[list[str]]:
    """The lines of a file without their ends, those of a piece of it at a time."""
    rest = ""
    for piece in decoded(path, encoding):
        *whole, rest = (rest + piece).split("\n")
        yield [line.removesuffix("\r") for line in whole]
    if rest:
        yield [rest]


def columns_of(settings: Mapping[str, Any]) -> Columns:
    """The columns that a run's data settings name."""
    labels: Sequence[str] | None = settings.get("labels")
    return Columns(settings.get("text_column") or "text", settings.get("columns") or {}, labels)
