"""pydocs: the documentation of the running Python's standard library, real text that is there without a network."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.docstrings import module_files
from manyheads.data.prepare import TextOptions, source_builder
from manyheads.data.pydocs_split import split_groups
from manyheads.data.pydocs_views import View, view_of
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import BATCH_ROWS, batches_of, check_cut
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_LAYOUT = 1
_CONTENT = "content"
_ROWS = "rows.jsonl"
_SIZES = "sizes.json"
_TEXT = ("text",)


@source_builder(TextOptions)
def pydocs(*, validation_fraction: float = 0.05, fields: Sequence[str] = _TEXT) -> PyDocs:
    """The topics of `pydoc` and the docstrings of the standard library, one row for each module or topic.

    Args:
        validation_fraction: about which share of the bytes the validation split holds, and the test split as well.
        fields: what a row has: text, or what another task asks for, made from docstrings (label, summary, answers).
    """
    check_cut(("validation", "test"), validation_fraction)
    return PyDocs(validation_fraction=validation_fraction, fields=tuple(fields))


@final
class PyDocs(Source):
    """The view of the documentation that has the fields asked for, as columns in their order.

    The view of texts has a column more, module. Modules are read as source, never imported, the first time; then they
    are cached. What repeats, spaces apart (in the other views: all but letters), is left out the second time, so none is
    in two splits. Validation and test hold about `validation_fraction` of the bytes each, whole modules, chosen by the
    hash of the module's name, in the other views from each part of the library by itself: a module that the text view
    trains on may be tested there.

    Raises UserError when no view has the fields.
    """

    def __init__(self, *, validation_fraction: float, fields: tuple[str, ...] = _TEXT) -> None:
        super().__init__(name="pydocs", join_rows=False, validation_fraction=validation_fraction)
        self._view: View = view_of(fields)
        self._columns = [*fields, "module"] if self._view.fields == _TEXT else list(fields)

    @property
    def fingerprint(self) -> str:
        content = (self._folder / _CONTENT).read_text(encoding="utf-8")
        of_view = [] if self._view.fields == _TEXT else [self._columns]
        return fingerprint(_LAYOUT, content, self.validation_fraction, *of_view)

    @property
    def given(self) -> tuple[str, ...]:
        return SPLITS

    @property
    def remarks(self) -> list[str]:
        share = f"{self.validation_fraction:.3g}"
        python = f"the standard library of Python {sys.version.split()[0]}"
        said = [f"{python}; {share} of the text each for validation and test"]
        return said if self._view.fields == _TEXT else [*said, f"each row: {self._view.said}"]

    def load(self, split: str) -> Dataset:
        return self._tables[split]

    def texts(self, split: str) -> Iterator[list[str]]:
        columns = [name for name in self._view.texts if name in self._columns]
        for values in batches_of(lambda: self.rows(split), columns, BATCH_ROWS):
            yield [text for row in zip(*values, strict=True) for value in row for text in _said(value)]

    @functools.cached_property
    def _tables(self) -> dict[str, Dataset]:
        from datasets import Dataset

        lines = (self._folder / _ROWS).read_text(encoding="utf-8").split("\n")
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in (json.loads(line) for line in lines if line):
            rows[row["module"]].append({name: row[name] for name in self._columns})
        sizes = json.loads((self._folder / _SIZES).read_text(encoding="utf-8"))
        members = split_groups(sizes, self.validation_fraction, self._view.split)
        return {
            split: Dataset.from_list([row for name in names for row in rows[name]]) for split, names in members.items()
        }

    @functools.cached_property
    def _folder(self) -> Path:
        library = Path(sysconfig.get_path("stdlib"))
        files = module_files(library)
        states = [[name, path.stat().st_size, path.stat().st_mtime_ns] for name, path in files.items()]
        key = fingerprint(_LAYOUT, sys.version, states, self._view.fields, self._view.layout)
        return cached("pydocs", key, lambda made: _make(made, self._view, library, files))


def _make(folder: Path, view: View, library: Path, files: Mapping[str, Path]) -> None:
    made = view.make(library, files)
    if not made.rows:
        raise UserError(
            f"data=pydocs: no source of the standard library in {library}. "
            "Use a Python that has it, or set data=text data.path=FILE."
        )
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows).encode()
    (folder / _ROWS).write_bytes(content)
    (folder / _SIZES).write_text(json.dumps(made.sizes), encoding="utf-8")
    (folder / _CONTENT).write_text(hashlib.sha256(content).hexdigest(), encoding="utf-8")


def _said(value: Any) -> list[str]:
    """The texts of a field: itself, or the contents of a talk's messages."""
    return [value] if isinstance(value, str) else [message["content"] for message in value]
