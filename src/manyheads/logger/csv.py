"""metrics.csv: one row for each logged step, in a file that can be read at any time."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from manyheads.atomic import replacing

FILE = "metrics.csv"
STEP = "step"


class CsvLog(Logger):
    """Writes `folder`/metrics.csv as things are logged: what is logged at one step becomes one row, the step first.

    A file that is there is continued; `drop_after` takes out what a checkpoint does not know. A new name adds a column:
    then the file is written anew, beside and renamed, so that no reader meets half of it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = Path(folder) / FILE
        self._columns: list[str] = []
        self._row: dict[str, Any] = {}  # of the last step, which may still grow
        self._start = 0  # the byte at which that row begins
        if getattr(rank_zero_only, "rank", 0) == 0 and self._path.is_file():
            self._write_anew(*self._read())

    @property
    def name(self) -> str:
        """What Lightning calls this logger."""
        return "csv"

    @property
    def version(self) -> str:
        """The run folder's name."""
        return self._path.parent.name

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Adds numbers to the row of `step`, an optimizer step; by default to the last row."""
        at = self._row.get(STEP, 0) if step is None else step
        if self._row and self._row[STEP] != at:
            self._start = self._path.stat().st_size
            self._row = {}
        self._row |= {STEP: at} | {
            name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()
        }
        if new := [name for name in self._row if name not in self._columns]:
            rows = [row for row in self._read()[1] if int(row[STEP]) != at] if self._columns else []
            self._write_anew([*self._columns, *new], [*rows, self._row])
            return
        with self._path.open("r+b") as file:
            file.seek(self._start)
            file.write(_lines(self._columns, [self._row]))
            file.truncate()

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def drop_after(self, step: int) -> None:
        """Removes what a resumed run will log again: the rows of steps later than `step`, and the scores on the test split,
        which are those of the end."""
        if self._path.is_file():
            columns, rows = self._read()
            kept = [name for name in columns if not name.startswith("test/")]
            rows = [row for row in rows if int(row[STEP]) <= step]
            self._write_anew(kept, [{name: row[name] for name in kept if name in row} for row in rows])

    def rows(self) -> list[dict[str, float]]:
        """All rows so far, each with its `step`, without their empty cells."""
        if not self._path.is_file():
            return []
        return [{name: float(value) for name, value in row.items()} for row in self._read()[1]]

    def _read(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The columns, and the rows without their empty cells; a last line that was cut off is left out."""
        whole = self._path.read_text(encoding="utf-8").rpartition("\n")[0]
        reader = csv.DictReader(io.StringIO(whole))
        rows = [{name: value for name, value in row.items() if value} for row in reader]
        return list(reader.fieldnames or []), rows

    def _write_anew(self, columns: list[str], rows: list[dict[str, Any]]) -> None:
        head = _lines(columns, [dict(zip(columns, columns, strict=True)), *rows[:-1]])
        with replacing(self._path, "wb") as file:
            file.write(head + _lines(columns, rows[-1:]))
        self._columns = columns
        self._start = len(head)
        self._row = {**rows[-1], STEP: int(rows[-1][STEP])} if rows else {}


def _lines(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
