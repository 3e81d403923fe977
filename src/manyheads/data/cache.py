"""A folder for what is costly to make: named by content, made by one process while others wait, never half-made."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from manyheads import __version__
from manyheads.errors import UserError

_NO_ROOM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO),
)


def cache_dir() -> Path:
    """$MANYHEADS_CACHE, else $XDG_CACHE_HOME/manyheads, else ~/.cache/manyheads. It need not exist yet."""
    own = os.environ.get("MANYHEADS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "manyheads"


def fingerprint(*parts: object) -> str:
    """32 hex digits that stand for the parts: texts, numbers, None, and lists or mappings of those."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached(kind: str, fingerprint: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made once for each fingerprint.

    `make` is given an empty folder beside the final one, which is renamed when `make` has returned. So a folder that
    is there is whole; when `make` raises, or its process is killed, none is there. Other processes wait meanwhile.
    The fingerprint must stand for everything that `make` depends on, but for this package's version, which is added.

    Raises UserError when the cache folder cannot be written.
    """
    shelf = cache_dir() / f"{kind}-{__version__}"
    target = shelf / fingerprint
    if target.is_dir():
        return target
    with _room_in(shelf):
        shelf.mkdir(parents=True, exist_ok=True)
        with FileLock(shelf / f"{fingerprint}.lock"):
            if not target.is_dir():
                _make(target, make)
    return target


def cached_before(kind: str, fingerprint: str) -> Path | None:
    """The folder that `cached` would return without making anything, or None."""
    target = cache_dir() / f"{kind}-{__version__}" / fingerprint
    return target if target.is_dir() else None


def _make(target: Path, make: Callable[[Path], None]) -> None:
    for left in target.parent.glob(f"{target.name}.part-*"):  # its process was killed: we hold the lock now
        shutil.rmtree(left, ignore_errors=True)
    part = target.with_name(f"{target.name}.part-{uuid.uuid4().hex}")
    part.mkdir()
    try:
        make(part)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextlib.contextmanager
def _room_in(shelf: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        inside = error.filename is None or str(error.filename).startswith(str(shelf.parent))
        if error.errno not in _NO_ROOM or not inside:
            raise
        raise UserError(
            f"MANYHEADS_CACHE={shelf.parent}: the cache folder cannot be written ({error.strerror or error}). "
            "Make room there, or set MANYHEADS_CACHE to another folder."
        ) from error
