"""The digest of a file's content, computed once for each state of a large file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from manyheads.data.cache import cached, fingerprint
from manyheads.errors import UserError

REMEMBERED_BYTES = 1 << 24  # reading less takes about as long as looking it up


def digest(path: Path) -> str:
    """64 hex digits (SHA-256) of a file's bytes. That of a large file is remembered until the file changes."""
    state = path.stat()
    if state.st_size < REMEMBERED_BYTES:
        return _compute(path)
    # ctime cannot be set back, unlike mtime
    key = fingerprint(str(path.absolute()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)

    def make(folder: Path) -> None:
        (folder / "sha256").write_text(_compute(path))

    return (cached("digest", key, make) / "sha256").read_text()


def _compute(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError as error:
        raise UserError(
            f"data.path={path} cannot be read: permission denied. Set its rights, or another path."
        ) from error
