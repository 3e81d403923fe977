"""Which files `data.path` means, and which split each belongs to."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from manyheads.data.source import SPLITS
from manyheads.errors import UserError, did_you_mean
from manyheads.stamp import is_run_folder

COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
ALIASES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_WORD = re.compile(r"[A-Za-z]+")

Paths = str | Sequence[str]


class Found(NamedTuple):
    """The files of each split, in order, and what was passed over."""

    files: dict[str, list[Path]]
    notes: list[str]


def find(path: Paths | Mapping[str, Paths] | None, suffixes: Sequence[str]) -> Found:
    """The files that `data.path` names: a file, folder or glob, several of those, or a mapping of splits to those.

    Unless it is a mapping, a file belongs to the split that its name, or a folder's name below the one given, says; all
    are train when none does. Empty files, and run folders below a folder, are passed over. Raises UserError when there is
    none, for all or for a split.
    """
    if not path and not isinstance(path, Mapping):  # empty: a variable that the shell did not know
        raise UserError(
            "data.path is not set. Set data.path=FILE, a folder, or a glob in quotes such as 'texts/*.txt'."
        )
    try:
        if isinstance(path, Mapping):
            found = {split: _expand(path[key], suffixes) for split, key in _keys(path).items()}
            return Found({split: _not_empty(list(files)) for split, files in found.items()}, [])
        return _by_name(_expand(path, suffixes))
    except PermissionError as error:
        raise UserError(
            f"data.path={error.filename} cannot be read: permission denied. Set its rights, or another path."
        ) from error


def _keys(path: Mapping[str, Paths]) -> dict[str, str]:
    unknown = [key for key in path if key not in ALIASES]
    if unknown or not path:
        raise UserError(
            f"data.path={dict(path)}: set a file for each of {', '.join(SPLITS)}."
            + "".join(did_you_mean(key, SPLITS) for key in unknown[:1])
        )
    return {split: key for split in SPLITS for key in path if ALIASES[key] == split}


def _by_name(files: dict[Path, tuple[str, ...]]) -> Found:
    splits: dict[str, list[Path]] = {split: [] for split in SPLITS}
    unnamed = []
    for file, parts in files.items():
        said = [ALIASES[word] for part in reversed(parts) for word in _words(part) if word in ALIASES]
        (splits[said[0]] if said else unnamed).append(file)
    named = {split: _not_empty(found, f" It is all there is for {split}.") for split, found in splits.items() if found}
    if not named:
        return Found({"train": _not_empty(unnamed)}, [])
    unnamed = [file for file in unnamed if file.stat().st_size]
    notes = [f"{len(unnamed)} file(s) passed over, their names say no split: {unnamed[0].name}"] if unnamed else []
    return Found(named, notes)


def _words(part: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(part)]


def _not_empty(files: Sequence[Path], why: str = "") -> list[Path]:
    """The files but those of no byte."""
    kept = [file for file in files if file.stat().st_size]
    if not kept:
        raise UserError(f"data.path={files[0]} is empty.{why} Set data.path to a file with text in it.")
    return kept


def _expand(paths: Paths, suffixes: Sequence[str]) -> dict[Path, tuple[str, ...]]:
    """Files by the names that tell their split."""
    files: list[tuple[Path, tuple[str, ...]]] = []
    for path in [paths] if isinstance(paths, str) else paths:
        place = Path(path).expanduser()
        if place.is_dir():
            files += [(file, file.relative_to(place).parts) for file in _in_folder(place, suffixes)]
        elif place.exists():
            files.append((place, (place.name,)))
        else:
            files += [(file, (file.name,)) for file in _globbed(place, path)]
    return dict(files)


def _in_folder(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    # a folder that cannot be read must not pass for an empty one
    inside = []
    for top, folders, names in os.walk(folder, onerror=_raise):
        # what a run left below a folder of data (`data.path=.` beside outputs/) is not data
        folders[:] = [name for name in folders if not _hidden(name) and not is_run_folder(Path(top, name))]
        inside += [Path(top, name) for name in names if not _hidden(name)]
    inside = sorted(file for file in inside if file.is_file())
    found = [file for file in inside if suffix_of(file) in suffixes]
    if not found:
        there = f"it has {', '.join(file.name for file in inside[:3])}" if inside else "it is empty"
        raise UserError(
            f"data.path={folder} is a folder without {' or '.join(suffixes)} files; {there}. "
            f"Set data.path to a file, or to a glob such as '{folder}/*'."
        )
    return found


def _raise(error: OSError) -> NoReturn:
    raise error


def _globbed(place: Path, path: str) -> list[Path]:
    if not glob.has_magic(str(place)):
        raise UserError(f"data.path={path}: there is no such file or folder.{near(place)} Set data.path.")
    found = [Path(match) for match in sorted(glob.glob(str(place), recursive=True))]
    files = [match for match in found if match.is_file()]
    if not files:
        raise UserError(f"data.path={path}: no file matches. Set another glob, a folder or a file.")
    return files


def near(place: Path) -> str:
    """The names beside the one that is missing that look like it; or the part of the path that exists."""
    folder = place.absolute().parent
    if folder.is_dir():
        names = [entry.name for entry in folder.iterdir()]
        return did_you_mean(place.name, names) or f" In {folder} are: {', '.join(sorted(names)[:5]) or 'no files'}."
    there = next(parent for parent in folder.parents if parent.exists())
    return f" The folder {folder} is not there either, only {there}."


def _hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def suffix_of(file: Path) -> str:
    """The ending that says what a file holds, without that of a compression."""
    name = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    return name.suffix.lower()
