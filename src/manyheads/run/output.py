"""Where `to=` leads: a file that is replaced whole, a pipe or a device that is written to, or stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from manyheads.atomic import replacing
from manyheads.errors import UserError, disk_fault
from manyheads.run.folder import may_write

STDOUT = "-"


class Output:
    """One place for results, found fit to be written before any long work.

    Attributes:
        path: the place as it was named.
        is_stdout: it is stdout, by "-" or by another name of what stdout leads to: nothing else may be written there.
    """

    def __init__(self, path: str | Path, key: str, example: str) -> None:
        """Raises UserError, naming `key` and `example`, for a place that cannot be written."""
        self.path, self._key = path, key
        file = Path(path).expanduser()
        # what is no file has no folder of its own: of /dev/stdout, the link's end may have no name
        self._special = file.exists() and not file.is_file() and not file.is_dir()
        self.is_stdout = str(path) == STDOUT or _is_stdout(file)
        # a link stays, and leads to the file still
        self._file = file if self._special else Path(os.path.realpath(file))
        if not self.is_stdout and not self._special:
            self._check(example)

    def _check(self, example: str) -> None:
        folder = self._file.parent
        if self._file.is_dir():
            place = Path(self.path).expanduser() / example
            raise UserError(f"{self._key}={self.path} is a folder: set a file, such as {self._key}={place}.")
        if not folder.is_dir():
            where = folder if Path(self.path).is_symlink() else Path(self.path).expanduser().parent
            raise UserError(f"{self._key}={self.path}: there is no folder {where}. Make it, or set another file.")
        if not may_write(folder):
            raise UserError(f"{self._key}={self.path}: the folder {folder} cannot be written. Set another file.")

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[str]]:
        """The place as a text file in UTF-8. A regular file gets its content when the block has ended, a pipe or a
        device each line as it comes. Raises UserError when the disk gives out."""
        try:
            with self._opened() as file:
                yield file
        except OSError as error:
            fault = disk_fault(error)
            if fault is None or error.filename not in (None, str(self._file)):
                raise
            raise UserError(f"{self._key}={self.path}: {fault.what}. {fault.remedy}, or set another file.") from error

    def _opened(self) -> contextlib.AbstractContextManager[IO[str]]:
        if self.is_stdout:
            return contextlib.nullcontext(sys.stdout)
        if self._special:
            return self._file.open("w", encoding="utf-8", buffering=1)
        return replacing(self._file)


def _is_stdout(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(file.stat(), os.fstat(1))
    return False
