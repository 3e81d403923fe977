"""files: rows from text, JSON, CSV or parquet files of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.columns import Columns, with_fields
from manyheads.data.digest import digest
from manyheads.data.paths import Found, Paths, find
from manyheads.data.prepare import TextOptions, source_builder
from manyheads.data.reading import check_encoding
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import check_fraction, twice
from manyheads.data.stream import StreamedRows
from manyheads.data.streaming import streamed
from manyheads.data.tables import check_delimiter, diagnosis, read_shards, write_lines, write_table
from manyheads.data.tables_streamed import stream_lines, stream_table
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_LAYOUT = 2


class Format(NamedTuple):
    """What is particular to a kind of files."""

    suffixes: tuple[str, ...]
    write: Callable[..., None] = write_table
    stream: Callable[..., IterableDataset] = stream_table
    join_rows: bool = False
    settings: Mapping[str, Any] = MappingProxyType({})


FORMATS = {
    "text": Format((".txt", ".text"), write_lines, stream_lines, join_rows=True),
    "json": Format((".jsonl", ".json", ".ndjson")),
    # "NA" and "null" in a cell are words
    "csv": Format((".csv",), settings={"keep_default_na": False, "sep": ","}),
    "parquet": Format((".parquet",)),
}


@source_builder(TextOptions)
def files(
    *,
    format: Literal["text", "json", "csv", "parquet"],
    path: str | list[str] | dict[str, str | list[str]] | None = None,
    text_column: str = "text",
    columns: dict[str, str] | None = None,
    labels: list[str] | None = None,
    validation_fraction: float = 0.05,
    encoding: str = "utf-8",
    join_rows: bool | None = None,
    delimiter: str = ",",
    test_on_validation: bool = False,
    streaming: bool = False,
    head_mb: float = 32,
    shuffle_mb: float = 4,
) -> Source:
    """Rows from files: those of text are its lines, line breaks kept; those of JSON are its objects (one a line, or a list).

    Args:
        format: what the files are.
        path: a file, a folder (all files of the format below it), a glob, a list of those, or a mapping from train,
            validation and test to those. Compressed files (gz, bz2, xz, zip) are unpacked on the way.
        text_column: the column that holds a row's text; a missing text (null, or an empty cell) is the empty one.
        columns: the column of each other field of the task, where it is not called as the field: {source: de, target: en}.
        labels: the names of the classes, where the column of the field label holds their numbers.
        validation_fraction: how much of train becomes validation, and test, where the files give none.
        encoding: of text, JSON and CSV files.
        join_rows: rows are pieces of one running text; null: they are in text files, not in others.
        delimiter: the sign between the cells of CSV files, or the word tab.
        test_on_validation: where the files give validation but no test, test is validation once more, and nothing of
            train is set aside for it: for comparisons with work that has two splits.
        streaming: train is read and tokenized as it is trained on, pass after pass, instead of once onto the disk.
        head_mb: megabytes of text at the beginning of a streamed train that tokenizers are trained on, and that splits
            are cut from which the files do not give.
        shuffle_mb: megabytes of text that a stream is shuffled within.
    """
    check_encoding(encoding)
    check_fraction(validation_fraction)
    kind = FORMATS[format]
    settings = dict(kind.settings)
    if "sep" in settings:
        settings["sep"] = check_delimiter(delimiter)
    elif delimiter != ",":
        raise UserError(
            f"data.delimiter={delimiter}: data={format} has no cells to separate. Leave it out, or set data=csv."
        )
    found = Files(
        format,
        path,
        columns=Columns(text_column, columns or {}, labels),
        fraction=validation_fraction,
        encoding=encoding,
        joined=kind.join_rows if join_rows is None else join_rows,
        settings=settings,
        test_on_validation=test_on_validation,
    )
    return streamed(found, found.streamed_rows, streaming, head_mb=head_mb, shuffle_mb=shuffle_mb)


@final
class Files(Source):
    """Rows of files, kept in the cache in Arrow's format under the files' content."""

    def __init__(
        self,
        format: str,
        path: Paths | Mapping[str, Paths] | None,
        *,
        columns: Columns,
        fraction: float,
        encoding: str,
        joined: bool,
        settings: Mapping[str, Any],
        test_on_validation: bool = False,
    ) -> None:
        self._format = format
        self._reading = dict(settings)
        self._found = find(path, FORMATS[format].suffixes)
        if test_on_validation:
            files, notes = twice(self._found.files)
            self._found = Found(files, [*self._found.notes, *notes])
        self._columns = columns
        self._encoding = encoding
        super().__init__(name=_name(self._found.files), join_rows=joined, validation_fraction=fraction)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._digests, self._settings, *self._columns.key, self.validation_fraction, self.join_rows)

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split in self._found.files)

    @property
    def remarks(self) -> list[str]:
        return self._found.notes

    def load(self, split: str) -> Dataset:
        files, kind = self._found.files[split], FORMATS[self._format]

        def make(folder: Path) -> None:
            kind.write(self._format, files, self._encoding, folder, **self._reading)

        folder = cached("rows", fingerprint(self._digests[split], self._settings), make)
        return with_fields(read_shards(folder), self.fields, self._columns, str(files[0]))

    def streamed_rows(self) -> StreamedRows:
        """The rows of train, read as they are asked for."""
        files, kind = self._found.files["train"], FORMATS[self._format]
        return StreamedRows(
            open=functools.partial(kind.stream, self._format, files, self._encoding, **self._reading),
            text_column=self._columns.text_column,
            where=str(files[0]),
            diagnose=functools.partial(diagnosis, self._format, files),
        )

    @functools.cached_property
    def _digests(self) -> dict[str, list[str]]:
        return {split: [digest(file) for file in files] for split, files in self._found.files.items()}

    @property
    def _settings(self) -> list[Any]:
        return [_LAYOUT, self._format, self._encoding, self._reading]


def _name(found: Mapping[str, Sequence[Path]]) -> str:
    files = list(dict.fromkeys(file for part in found.values() for file in part))
    return files[0].name if len(files) == 1 else f"{files[0].parent.absolute().name} ({len(files)} files)"
