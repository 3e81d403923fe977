"""hub: rows from a data set of the Hugging Face hub, or from a local copy of its repository."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.columns import Columns, with_fields
from manyheads.data.digest import digest
from manyheads.data.paths import ALIASES, near
from manyheads.data.prepare import TextOptions, source_builder
from manyheads.data.revision import OFFLINE_HINT, Located, locate, snapshot
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import twice
from manyheads.data.stream import StreamedRows
from manyheads.data.streaming import streamed
from manyheads.data.tables import load_dataset, move_shards, read_shards
from manyheads.data.tables_streamed import stream_dataset
from manyheads.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

_LAYOUT = 1
_SPLITS_FILE = "splits.json"


@source_builder(TextOptions)
def hub(
    *,
    name: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    text_column: str = "text",
    columns: dict[str, str] | None = None,
    labels: list[str] | None = None,
    validation_fraction: float = 0.05,
    join_rows: bool = False,
    test_on_validation: bool = False,
    streaming: bool = False,
    head_mb: float = 32,
    shuffle_mb: float = 4,
) -> Source:
    """Rows of a data set on the hub.

    Args:
        name: OWNER/NAME on the hub, or a folder that is a copy of that repository.
        config: which of its configurations, where it has several.
        revision: a branch, tag or commit; null: the newest, whose commit is part of the run's fingerprint.
        text_column: the column that holds a row's text; a missing text (null) is the empty one.
        columns: the column of each other field of the task, where it is not called as the field: {source: de, target: en}.
        labels: the names of the classes, where the column of the field label holds their numbers.
        validation_fraction: how much of train becomes validation, and test, where the data set has none.
        join_rows: rows are consecutive pieces of one running text, as in WikiText.
        test_on_validation: where the data set has validation but no test, test is validation once more, and nothing of
            train is set aside for it: for comparisons with work that has two splits.
        streaming: train is read (from the hub: fetched) and tokenized as it is trained on, pass after pass, instead of
            once onto the disk.
        head_mb: megabytes of text at the beginning of a streamed train that tokenizers are trained on, and that splits
            are cut from which the data set does not have.
        shuffle_mb: megabytes of text that a stream is shuffled within.
    """
    if not name:
        raise UserError("data.name is not set. Set data.name=OWNER/NAME of a data set on the hub, or a folder.")
    found = Hub(
        name,
        config,
        revision,
        columns=Columns(text_column, columns or {}, labels),
        fraction=validation_fraction,
        joined=join_rows,
        test_on_validation=test_on_validation,
    )
    return streamed(found, found.streamed_rows, streaming, head_mb=head_mb, shuffle_mb=shuffle_mb)


@final
class Hub(Source):
    """Rows of one state of a repository: a commit on the hub, or the content of a folder's files."""

    def __init__(
        self,
        name: str,
        config: str | None,
        revision: str | None,
        *,
        columns: Columns,
        fraction: float,
        joined: bool,
        test_on_validation: bool = False,
    ) -> None:
        super().__init__(name=name, join_rows=joined, validation_fraction=fraction)
        self._config = config
        self._revision = revision
        self._columns = columns
        self._test_on_validation = test_on_validation
        self._local = Path(name).expanduser().absolute() if Path(name).expanduser().is_dir() else None
        if self._local is None and name.startswith((".", "/", "~")):
            raise UserError(f"data.name={name}: there is no such folder.{near(Path(name).expanduser())}")
        _ = self._state  # so that a wrong name or a missing network is said at once

    @property
    def fingerprint(self) -> str:
        found = [self._state, *self._columns.key, self.validation_fraction, self.join_rows]
        return fingerprint(*found, *(["test_on_validation"] if self._test_on_validation else []))

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split in self._names)

    @property
    def remarks(self) -> list[str]:
        if self._located is None or self._located.online:
            return self._split_notes
        return [f"the hub cannot be reached: commit {self._located.commit[:8]}, seen here before", *self._split_notes]

    def load(self, split: str) -> Dataset:
        def make(folder: Path) -> None:
            work = folder / "work"
            rows = load_dataset(self._diagnosis, split=self._names[split], cache_dir=str(work), **self._where)
            move_shards(rows, folder)
            shutil.rmtree(work)

        rows = read_shards(cached("rows", fingerprint(self._state, split), make))
        return with_fields(rows, self.fields, self._columns, f"{self.name} ({split})")

    def streamed_rows(self) -> StreamedRows:
        """The rows of train, read or fetched as they are asked for."""
        return StreamedRows(
            open=functools.partial(stream_dataset, split=self._names["train"], **self._where),
            text_column=self._columns.text_column,
            where=f"{self.name} (train)",
            diagnose=self._diagnosis,
        )

    @functools.cached_property
    def _located(self) -> Located | None:
        """The commit on the hub; None for a folder."""
        return None if self._local else locate("dataset", self.name, self._revision, "data.name")

    @functools.cached_property
    def _state(self) -> list[Any]:
        if self._located is not None:
            return [_LAYOUT, self._config, self.name, self._located.commit]
        assert self._local is not None
        files = sorted(file for file in self._local.rglob("*") if file.is_file() and ".git" not in file.parts)
        if not files:
            raise UserError(f"data.name={self.name}: the folder is empty. Set data.name to a copy of a data set.")
        return [_LAYOUT, self._config, [[str(file.relative_to(self._local)), digest(file)] for file in files]]

    @functools.cached_property
    def _where(self) -> dict[str, Any]:
        """What `datasets` is asked for: the hub's commit, or a folder (offline, what was fetched of the commit)."""
        if self._located is not None and self._located.online:
            return {"path": self.name, "name": self._config, "revision": self._located.commit}
        folder = self._local or (self._located and snapshot("dataset", self.name, self._located.commit))
        if folder is None:
            raise UserError(
                f"data.name={self.name}: the hub cannot be reached, and its rows were not fetched before.\n"
                f"{OFFLINE_HINT['dataset']}"
            )
        return {"path": str(folder), "name": self._config}

    @property
    def _names(self) -> dict[str, str]:
        """The data set's own names of the splits that we know, by ours."""
        return self._splits[0]

    @property
    def _split_notes(self) -> list[str]:
        return self._splits[1]

    @functools.cached_property
    def _splits(self) -> tuple[dict[str, str], list[str]]:
        """The splits by name, and what to say about them."""

        def make(folder: Path) -> None:
            (folder / _SPLITS_FILE).write_text(json.dumps(self._split_names()), encoding="utf-8")

        names = json.loads((cached("splits", fingerprint(self._state), make) / _SPLITS_FILE).read_text("utf-8"))
        known = {ALIASES[name]: name for name in names if name in ALIASES}
        if not known:
            raise UserError(f"data.name={self.name} has no train, validation or test split, only {', '.join(names)}.")
        return twice(known) if self._test_on_validation else (known, [])

    def _split_names(self) -> list[str]:
        import datasets

        where = {("config_name" if key == "name" else key): value for key, value in self._where.items()}
        try:
            return list(datasets.get_dataset_split_names(**where))
        except Exception as error:
            raise self._diagnosis(error) from error

    def _diagnosis(self, error: Exception) -> UserError:
        choices = self._config_names()
        if choices and self._config not in choices:
            hint = did_you_mean(self._config or "", choices)
            return UserError(f"data.config={self._config} of {self.name}: set one of {', '.join(choices)}.{hint}")
        reason = " ".join(str(error.__cause__ or error).split())
        hint = "Mend the files of the folder." if self._local else OFFLINE_HINT["dataset"]
        return UserError(f"data.name={self.name} cannot be loaded: {reason[:200]}\n{hint}")

    def _config_names(self) -> list[str]:
        import datasets

        where = {key: value for key, value in self._where.items() if key != "name"}
        try:
            return list(datasets.get_dataset_config_names(**where))
        except Exception:  # asked only to explain an earlier error, which is told then
            return []
