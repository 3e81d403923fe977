"""Examples of a task on disk: columns of token ids, of any length in each row, made once and mapped into memory."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyheads.data.cache import cached, fingerprint
from manyheads.data.source import Source
from manyheads.data.split import BATCH_ROWS, batches_of
from manyheads.errors import UserError

LAYOUT = 1
"""Counts up when the files change their meaning."""

COUNTS = "counts.json"
ROW = "row"
"""The column that holds the number of the row of the split that an example is made of."""

Encode = Callable[[Mapping[str, list[Any]]], Mapping[str, Sequence[Sequence[int]]]]
"""From the columns of some rows to those of as many examples or more: lists of whole numbers."""


class RowError(Exception):
    """A row that is none of the task's: its place among those that `encode` was given, and what is wrong with it."""

    def __init__(self, row: int, wrong: str) -> None:
        super().__init__(wrong)
        self.row = row


class Ragged:
    """N lists of whole numbers, one after the other."""

    def __init__(self, values: NDArray[np.int32], starts: NDArray[np.int64]) -> None:
        self.values = values  # [total]
        self.starts = starts  # [N + 1]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.values[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N]"""
        return np.diff(self.starts)


class ExampleStore:
    """The examples of one split, in the folder that `examples` filled.

    Attributes:
        num_rows: rows of the split.
        columns: the names of the columns.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        counts = json.loads((folder / COUNTS).read_text())
        self.num_rows: int = counts["rows"]
        self.num_bytes: int = counts["bytes"]
        self.columns: list[str] = counts["columns"]

    def __reduce__(self) -> tuple[type[ExampleStore], tuple[Path]]:
        """A worker opens the files itself instead of getting a copy of them."""
        return ExampleStore, (self.folder,)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> Ragged:
        return self._opened[column]

    @functools.cached_property
    def rows(self) -> NDArray[np.int32]:
        """[N] the row of the split that each example is made of."""
        return self[ROW].values

    @functools.cached_property
    def _opened(self) -> dict[str, Ragged]:
        return {
            name: Ragged(self._open(name, np.int32), self._open(f"{name}.starts", np.int64)) for name in self.columns
        }

    def _open(self, name: str, dtype: type) -> NDArray:
        file = self.folder / f"{name}.bin"
        if not file.stat().st_size:
            return np.empty(0, dtype)  # which cannot be mapped
        return np.asarray(np.memmap(file, dtype=dtype, mode="r"))


def examples(source: Source, split: str, key: Sequence[object], encode: Encode) -> ExampleStore:
    """The examples of a split, from the cache where they are there.

    `key` stands for everything that `encode` depends on. `encode` may leave rows out or make several examples of one: the
    column `row` of what it returns counts the rows of those it was given; without it, there is one example for each. Its
    RowError becomes a UserError that names the row, counted from 0, and the split.
    """
    found = fingerprint(LAYOUT, source.fingerprint, source.fields, split, *key)
    return ExampleStore(cached("examples", found, functools.partial(write, source=source, split=split, encode=encode)))


def write(folder: Path, *, source: Source, split: str, encode: Encode) -> None:
    """Puts the examples of a split into a folder, for an ExampleStore."""
    columns = list(source.rows(split).column_names)
    rows = num_bytes = 0
    ends: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        files: dict[str, Any] = {}
        for values in batches_of(lambda: source.rows(split), columns, BATCH_ROWS):
            batch = dict(zip(columns, values, strict=True))
            made = {**_encoded(encode, batch, rows, f"data ({source.name}): row {{}} of {split}")}
            made.setdefault(ROW, [[row] for row in range(len(values[0]))])
            made[ROW] = [[rows + row for row in numbers] for numbers in made[ROW]]
            for name, lists in made.items():
                if name not in files:
                    files[name] = [
                        stack.enter_context((folder / f"{name}{end}.bin").open("wb")) for end in ("", ".starts")
                    ]
                    files[name][1].write(np.zeros(1, np.int64).tobytes())
                lengths = np.fromiter(map(len, lists), np.int64, len(lists))
                total = int(lengths.sum())
                files[name][0].write(np.fromiter((n for one in lists for n in one), np.int32, total).tobytes())
                files[name][1].write((ends.get(name, 0) + lengths.cumsum()).tobytes())
                ends[name] = ends.get(name, 0) + total
            rows += len(values[0])
            num_bytes += _bytes(source, batch)
    (folder / COUNTS).write_text(json.dumps({"rows": rows, "bytes": num_bytes, "columns": sorted(files)}))


def _encoded(
    encode: Encode, batch: Mapping[str, list[Any]], before: int, which: str
) -> Mapping[str, Sequence[Sequence[int]]]:
    try:
        return encode(batch)
    except RowError as error:
        wrong = f"{error}" if f"{error}".endswith("?") else f"{error}."
        raise UserError(f"{which.format(before + error.row)}: {wrong} Mend the row, or leave it out.") from error


def _bytes(source: Source, batch: Mapping[str, list[Any]]) -> int:
    """Bytes of UTF-8 of all texts of some rows."""
    count = len(next(iter(batch.values())))
    rows = ({name: values[i] for name, values in batch.items()} for i in range(count))
    return sum(len(text.encode()) for row in rows for text in source.fields.strings(row))
