"""Files to rows on disk, in Arrow's format, so that memory stays flat however large the files are."""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.reading import decoded, is_compressed, lines, open_plain
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

SHARD_BYTES = 1 << 28
BINARY = ("parquet",)
DELIMITERS = {";": "';'", "\t": "tab", "|": "'|'", ",": "','"}
"""What separates the cells of a CSV file, each as one writes it on a command line."""

_NO_OBJECT = 'is no object: write {"text": "..."} for each row'
_MORE_CELLS = "__index_level_0__"  # pandas takes the cells before those that have a name for an index


def write_lines(kind: str, files: Sequence[Path], encoding: str, folder: Path) -> None:
    """Files of a kind that has nothing but lines to shards of rows, one for each line, its line break kept."""
    write_texts(itertools.chain.from_iterable(lines(file, encoding) for file in files), folder)


def write_texts(batches: Iterator[list[str]], folder: Path) -> None:
    """Texts to shards of rows with the one column "text"."""
    import pyarrow as pa

    schema = pa.schema({"text": pa.string()})
    for shard in itertools.count():
        written = 0
        with pa.OSFile(str(folder / f"{shard:05d}.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                table = pa.record_batch([pa.array(batch, pa.string())], schema=schema)
                writer.write_batch(table)
                written += table.nbytes
                if written >= SHARD_BYTES:
                    break
        if written < SHARD_BYTES:
            return


def write_table(kind: str, files: Sequence[Path], encoding: str, folder: Path, **settings: Any) -> None:
    """json, csv or parquet files to shards of rows, through `datasets`.

    Raises UserError that names the file, and the line where there is one, when a file is not what it should be.
    """
    work = folder / "work"
    work.mkdir()
    plain = [_plain(file, None if kind in BINARY else encoding, work, i) for i, file in enumerate(files)]
    if "sep" in settings:
        for file, copy in zip(files, plain, strict=True):
            _check_delimiter(file, copy, settings["sep"])
    rows = load_dataset(
        lambda error: _diagnosis(kind, files, plain, error),
        path=kind,
        data_files=[glob.escape(str(file)) for file in plain],
        split="train",
        cache_dir=str(work),
        **settings,
    )
    if "sep" in settings and _MORE_CELLS in rows.column_names:
        raise UserError(
            f"data.path={files[0]}: its rows have more cells than its first line has names. Put a text that holds a "
            f"{settings['sep']!r} in double quotes, or set another data.path."
        )
    move_shards(rows, folder)
    shutil.rmtree(work)


def load_dataset(diagnose: Callable[[Exception], UserError | None], **settings: Any) -> Dataset:
    """`datasets.load_dataset`, without bars; what it raises goes through `diagnose` first."""
    import datasets

    try:
        with quiet():
            return datasets.load_dataset(**settings)
    except Exception as error:
        if full := _disk_error(error):
            raise full from error
        mistake = diagnose(error)
        if mistake is None:
            raise
        raise mistake from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The library `datasets` without its bars and log lines."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    level = datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def move_shards(rows: Dataset, folder: Path) -> None:
    """Moves the Arrow files behind freshly prepared rows into `folder`, as shards in order."""
    for shard, file in enumerate(rows.cache_files):
        shutil.move(file["filename"], folder / f"{shard:05d}.arrow")


def read_shards(folder: Path) -> Dataset:
    """The rows of all shards in a folder, mapped into memory, not read."""
    import datasets

    shards = [datasets.Dataset.from_file(str(file)) for file in sorted(folder.glob("*.arrow"))]
    return datasets.concatenate_datasets(shards) if len(shards) > 1 else shards[0]


def _plain(file: Path, encoding: str | None, work: Path, index: int) -> Path:
    """The file itself, or an unpacked copy in UTF-8; the whole of it was read, so its encoding is right."""
    if encoding is None:
        if not is_compressed(file):
            return file.absolute()
        copy = work / f"{index:05d}"
        with open_plain(file) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        return copy
    if encoding.lower() in ("utf-8", "utf8") and not is_compressed(file):
        for _ in decoded(file, encoding):
            pass
        return file.absolute()
    copy = work / f"{index:05d}"
    with copy.open("w", encoding="utf-8", newline="") as target:
        target.writelines(decoded(file, encoding))
    return copy


def _disk_error(error: BaseException | None) -> OSError | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
            return error
        error = error.__cause__ or error.__context__
    return None


def diagnosis(kind: str, files: Sequence[Path], error: Exception) -> UserError:
    """What is wrong with files that `datasets` has failed to read where they are."""
    plain = [file for file in files if not is_compressed(file)]
    return _diagnosis(kind, plain or files[:1], plain, error)


def _diagnosis(kind: str, files: Sequence[Path], plain: Sequence[Path], error: Exception) -> UserError:
    faults = {"json": _json_fault, "parquet": _parquet_fault}
    for file, copy in zip(files, plain, strict=False):
        fault = faults[kind](copy) if kind in faults else None
        if fault:
            return UserError(f"data.path={file} is not {kind}: {fault}. Mend the file or set another data.path.")
    if "corresponds to no data" in str(error):
        return UserError(f"data.path={files[0]} has no row. Set data.path to a file with rows.")
    reason = str(error.__cause__ or error).strip().split("\n")[0].rstrip(".")
    return UserError(
        f"data.path={files[0]} cannot be read as {kind}: {reason}. Mend the file or set another data.path."
    )


def _parquet_fault(file: Path) -> str | None:
    with file.open("rb") as content:
        start = content.read(4)
    return None if start == b"PAR1" else f"it starts with {start!r} instead of b'PAR1'"


def _json_fault(file: Path) -> str | None:
    """What is wrong first with a file of JSON lines, or with one that is a single JSON value; None when nothing is."""
    with file.open(encoding="utf-8-sig") as text:
        first = text.read(1)
        while first and first.isspace():
            first = text.read(1)
        text.seek(0)
        if first == "[":
            whole = text.read()
            return _fault_in(whole, 0) or _no_object(json.loads(whole))
        for number, line in enumerate(text):
            fault = _fault_in(line.rstrip("\r\n"), number, of_object=True) if line.strip() else None
            if fault:
                return fault
    return None


def _fault_in(text: str, lines_before: int, *, of_object: bool = False) -> str | None:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {lines_before + error.lineno}, column {error.colno}: {error.msg}"
    if of_object and not isinstance(value, dict):
        return f"line {lines_before + 1} {_NO_OBJECT}"
    return None


def _no_object(items: list[Any]) -> str | None:
    """What to say of the first item of a list that is no row."""
    return next(
        (f"item {i} of its list {_NO_OBJECT}" for i, item in enumerate(items, 1) if not isinstance(item, dict)), None
    )


def check_delimiter(delimiter: str) -> str:
    """The sign that `data.delimiter` names. Raises UserError for more than one."""
    sign = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(sign) != 1 or sign in '"\r\n':
        raise UserError(f"data.delimiter={delimiter}: set one sign, {' or '.join(DELIMITERS.values())}.")
    return sign


def _check_delimiter(file: Path, copy: Path, delimiter: str) -> None:
    """Raises UserError for a CSV file whose first line is separated by another sign."""
    with copy.open(encoding="utf-8-sig", newline="") as text:
        names = text.readline().strip()
    others = [sign for sign in DELIMITERS if sign in names]
    if delimiter not in names and others:
        shown = DELIMITERS[others[0]]
        raise UserError(
            f"data.path={file}: its first line is separated by {others[0]!r}, not by {delimiter!r}. "
            f'Set "data.delimiter={shown}", or set another data.path.'
        )
