"""Files as bytes and as text, unpacked on the way, and what is wrong with those that cannot be read."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from manyheads.errors import UserError

CHUNK_BYTES = 1 << 20
LONGEST_LINE = 1 << 10  # characters: a longer line is read in pieces of at most this length
_DAMAGED = (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError)


def check_encoding(encoding: str) -> None:
    """Raises UserError when Python knows no text encoding of this name."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError, TypeError) as error:
        raise UserError(
            f"data.encoding={encoding} is no encoding that Python knows. Set e.g. utf-8, utf-16, latin-1 or cp1252."
        ) from error


@contextlib.contextmanager
def open_plain(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked when it starts as a gzip, bzip2, xz, zip or zstandard file does.

    Raises UserError when it cannot be opened, is damaged, or is an archive of several files.
    """
    try:
        with path.open("rb") as file:
            head = file.read(10)
        with _opener(head)(path) as plain:
            yield plain
    except _DAMAGED as error:
        raise UserError(
            f"data.path={path}: the compressed file is damaged or cut off ({error}). "
            "Fetch or pack it again, or set another data.path."
        ) from error
    except PermissionError as error:
        raise UserError(
            f"data.path={path} cannot be read: permission denied. Set its rights, or another path."
        ) from error


def is_compressed(path: Path) -> bool:
    """Whether `open_plain` would unpack the file."""
    with path.open("rb") as file:
        return _opener(file.read(10)) is not _open_bytes


def decoded(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file, chunk by chunk, every character as it is there (line ends too).

    Raises UserError that names the byte at which the file does not follow the encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with open_plain(path) as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            waiting = len(decoder.getstate()[0])
            try:
                yield decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                if not isinstance(error, UnicodeDecodeError) or "BOM" in error.reason:  # the latter from Python 3.13 on
                    raise UserError(
                        f"data.path={path} is not {encoding.upper()}: it does not start with a BOM. "
                        "Set data.encoding to the file's own, e.g. utf-16-le or utf-8."
                    ) from error
                raise _wrong_encoding(path, encoding, done - waiting + error.start, error) from error
            if not chunk:
                return
            done += len(chunk)


def lines(path: Path, encoding: str) -> Iterator[list[str]]:
    """The lines of a file with their line breaks, some thousands at a time. Joined, they are the file's text."""
    rest = ""
    for text in decoded(path, encoding):
        *whole, rest = (rest + text).split("\n")
        batch = [piece for line in whole for piece in _pieces(line + "\n")]
        if len(rest) > LONGEST_LINE:
            *pieces, rest = _pieces(rest)
            batch += pieces
        if batch:
            yield batch
    if rest:
        yield _pieces(rest)


def _pieces(line: str) -> list[str]:
    """The line in pieces, cut before a space where there is one, so that words stay whole."""
    pieces, start = [], 0
    while len(line) - start > LONGEST_LINE:
        space = line.rfind(" ", start + 1, start + LONGEST_LINE + 1)
        end = space if space > 0 else start + LONGEST_LINE
        pieces.append(line[start:end])
        start = end
    return [*pieces, line[start:]]


def _wrong_encoding(path: Path, encoding: str, offset: int, error: UnicodeDecodeError) -> UserError:
    with open_plain(path) as file:
        head = file.read(2)
    likely = "utf-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1 or cp1252"
    byte = f" (0x{error.object[error.start]:02x})" if error.start < len(error.object) else ""
    return UserError(
        f"data.path={path} is not {encoding.upper()}: byte {offset}{byte} does not fit ({error.reason}).\n"
        f"Set data.encoding to the file's own, e.g. {likely}, or mend the file."
    )


def _opener(head: bytes) -> Callable[[Path], Any]:
    for magic, opener in _OPENERS.items():
        if head.startswith(magic) and (magic != b"BZh" or head[4:10] == b"1AY&SY"):
            return opener
    return _open_bytes


def _open_bytes(path: Path) -> IO[bytes]:
    return path.open("rb")


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
        if len(members) != 1:
            raise UserError(f"data.path={path} holds {len(members)} files. Unpack it and set data.path to the folder.")
        with archive.open(members[0]) as file:
            yield file


def _open_zstandard(path: Path) -> IO[bytes]:
    try:
        import zstandard  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(
            f"data.path={path} is compressed with zstandard: pip install zstandard, or unpack the file."
        ) from error
    return zstandard.open(path, "rb")


_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"PK\x03\x04": _open_zip,
    b"\x28\xb5\x2f\xfd": _open_zstandard,
}
