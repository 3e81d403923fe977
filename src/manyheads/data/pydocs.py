"""pydocs: the documentation of the running Python's standard library, real text that is there without a network."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.docstrings import module_files
from manyheads.data.fields import TEXT, Fields
from manyheads.data.prepare import TextOptions, source_builder
from manyheads.data.pydocs_split import split_groups
from manyheads.data.pydocs_views import View, view_of
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import check_cut
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_LAYOUT = 1
_CONTENT = "content"
_ROWS = "rows.jsonl"
_SIZES = "sizes.json"


@source_builder(TextOptions)
def pydocs(*, validation_fraction: float = 0.05) -> PyDocs:
    """The topics of `pydoc` and the docstrings of the standard library, one row for each module or topic; for tasks that need
    more than texts, rows that are made of the docstrings.

    Args:
        validation_fraction: about which share of the bytes the validation split holds, and the test split as well.
    """
    check_cut(("validation", "test"), validation_fraction)
    return PyDocs(validation_fraction=validation_fraction)


@final
class PyDocs(Source):
    """The view of the documentation that has the fields asked for.

    The view of texts has a column more, module. Modules are read as source, never imported, the first time; then they
    are cached. What repeats, spaces apart (in the other views: all but letters), is left out the second time, so none is
    in two splits. Validation and test hold about `validation_fraction` of the bytes each, whole modules, chosen by the
    hash of the module's name, in the other views from each part of the library by itself: a module that the text view
    trains on may be tested there.
    """

    def __init__(self, *, validation_fraction: float) -> None:
        super().__init__(name="pydocs", join_rows=False, validation_fraction=validation_fraction)
        self.ask(TEXT)

    def ask(self, fields: Fields) -> None:
        """Takes the view that has the fields. Raises UserError when none has them."""
        super().ask(fields)
        self._view: View = view_of(fields.required)
        further = [name for name in fields.optional if name in self._view.fields]
        self._columns = [*fields.required, *(["module"] if fields == TEXT else further)]

    @property
    def fingerprint(self) -> str:
        content = (self._folder / _CONTENT).read_text(encoding="utf-8")
        of_view = [] if self.fields == TEXT else [self._columns]
        return fingerprint(_LAYOUT, content, self.validation_fraction, *of_view)

    @property
    def given(self) -> tuple[str, ...]:
        return SPLITS

    @property
    def remarks(self) -> list[str]:
        share = f"{self.validation_fraction:.3g}"
        python = f"the standard library of Python {sys.version.split()[0]}"
        said = [f"{python}; {share} of the text each for validation and test"]
        return said if self.fields == TEXT else [*said, f"each row: {self._view.said}"]

    def load(self, split: str) -> Dataset:
        return self._tables[split]

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
