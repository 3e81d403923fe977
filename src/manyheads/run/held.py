"""A run folder that one process trains in, and no other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from manyheads.errors import UserError
from manyheads.run.folder import RunFolder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_held: set[int] = set()
"""File descriptors of the folders that this process holds."""


@contextlib.contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Within it no other process trains in the folder. The system lets it go when this process ends, however it ends.

    Raises UserError where another process holds it. Where a file system has no locks, nothing is held.
    """
    if fcntl is None:
        yield
        return
    place = os.open(folder.path, os.O_RDONLY)
    _held.add(place)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"resume={folder.path}: another process is training this run. Wait for it, or stop it first."
            ) from None
        except OSError:
            pass
        yield
    finally:
        _held.discard(place)
        os.close(place)


def _let_go() -> None:
    """In a process that was forked, such as one that loads data: it may outlive a run that was killed, whose folder is free."""
    for place in _held:
        os.close(place)
    _held.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)
