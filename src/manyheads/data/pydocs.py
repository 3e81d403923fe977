"""pydocs: the documentation of the running Python's standard library, real text that is there without a network."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.docstrings import module_files, module_text, topic_texts
from manyheads.data.prepare import TextOptions, source_builder
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import check_cut
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_LAYOUT = 1
_CONTENT = "content"
_ROWS = "rows.jsonl"


@source_builder(TextOptions)
def pydocs(*, validation_fraction: float = 0.05) -> PyDocs:
    """The topics of `pydoc` and the docstrings of the standard library, one row for each module or topic.

    Args:
        validation_fraction: about which share of the bytes the validation split holds, and the test split as well.
    """
    check_cut(("validation", "test"), validation_fraction)
    return PyDocs(validation_fraction=validation_fraction)


@final
class PyDocs(Source):
    """Columns: text, module. Modules are read as source, never imported, the first time; then they are cached.

    A paragraph that occurs again, spaces apart, is left out the second time, so none is in two splits. Validation and
    test hold about `validation_fraction` of the bytes each, whole modules, chosen by the hash of the module's name.
    """

    def __init__(self, *, validation_fraction: float) -> None:
        super().__init__(name="pydocs", join_rows=False, validation_fraction=validation_fraction)

    @property
    def fingerprint(self) -> str:
        content = (self._folder / _CONTENT).read_text(encoding="utf-8")
        return fingerprint(_LAYOUT, content, self.validation_fraction)

    @property
    def given(self) -> tuple[str, ...]:
        return SPLITS

    @property
    def remarks(self) -> list[str]:
        share = f"{self.validation_fraction:.3g}"
        return [
            f"the standard library of Python {sys.version.split()[0]}; {share} of the text each for validation and test"
        ]

    def load(self, split: str) -> Dataset:
        return self._tables[split]

    @functools.cached_property
    def _tables(self) -> dict[str, Dataset]:
        from datasets import Dataset

        lines = (self._folder / _ROWS).read_text(encoding="utf-8").split("\n")
        rows = {row["module"]: row for row in (json.loads(line) for line in lines if line)}
        sizes = {name: len(row["text"].encode()) for name, row in rows.items()}
        members = split_by_name(sizes, self.validation_fraction)
        return {split: Dataset.from_list([rows[name] for name in names]) for split, names in members.items()}

    @functools.cached_property
    def _folder(self) -> Path:
        library = Path(sysconfig.get_path("stdlib"))
        files = module_files(library)
        states = [[name, path.stat().st_size, path.stat().st_mtime_ns] for name, path in files.items()]
        return cached("pydocs", fingerprint(_LAYOUT, sys.version, states), lambda made: _make(made, library, files))


def _make(folder: Path, library: Path, files: Mapping[str, Path]) -> None:
    texts = without_repeats(topic_texts(library) | {name: module_text(name, path) for name, path in files.items()})
    if not texts:
        raise UserError(
            f"data=pydocs: no source of the standard library in {library}. "
            "Use a Python that has it, or set data=text data.path=FILE."
        )
    rows = [json.dumps({"text": text, "module": name}, ensure_ascii=False) + "\n" for name, text in texts.items()]
    content = "".join(rows).encode()
    (folder / _ROWS).write_bytes(content)
    (folder / _CONTENT).write_text(hashlib.sha256(content).hexdigest(), encoding="utf-8")


def without_repeats(texts: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, str]:
    """One text for each name, from its (heading, body) sections, without any paragraph that an earlier one had.

    Paragraphs are compared with runs of white space as one space. Sections and names that have nothing left are left
    out.
    """
    seen: set[str] = set()
    kept: dict[str, str] = {}
    for name in sorted(texts):
        sections = []
        for heading, body in texts[name]:
            paragraphs = [part for part in _paragraphs(body) if not _known(part, seen)]
            if paragraphs:
                sections.append("\n\n".join([heading, *paragraphs]) if heading else "\n\n".join(paragraphs))
        if sections:
            kept[name] = "\n\n".join(sections) + "\n"
    return kept


def split_by_name(sizes: dict[str, int], fraction: float) -> dict[str, list[str]]:
    """Names to train, validation and test, whole; the last two get at most `fraction` of the sum of sizes each.

    Names come in the order of their hash, and one that would overfill a split goes to the next.
    """
    order = sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest())
    goal = fraction * sum(sizes.values())
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    filled = dict.fromkeys(SPLITS, 0)
    for name in order:
        fits = [split for split in ("validation", "test") if filled[split] + sizes[name] <= goal]
        split = fits[0] if fits else "train"
        splits[split].append(name)
        filled[split] += sizes[name]
    return splits


def _paragraphs(text: str) -> list[str]:
    parts = "\n".join(line.rstrip() for line in text.split("\n")).split("\n\n")
    return [part.strip("\n") for part in parts if part.strip()]


def _known(paragraph: str, seen: set[str]) -> bool:
    key = " ".join(paragraph.split())
    if key in seen:
        return True
    seen.add(key)
    return False
