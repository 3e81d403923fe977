"""What a user did wrong, said so that the user can mend it; and how a process ends."""

from __future__ import annotations

import contextlib
import difflib
import errno
import re
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

EXIT_DONE = 0
EXIT_USER = 1
SIGNAL_BASE = 128  # a shell's convention: 128 + the signal's number

_FREE, _RIGHTS, _MOVE = "Free some", "Set its rights", "Set another path"
_DISK = {
    errno.ENOSPC: ("there is no space left on the disk", _FREE),
    errno.EDQUOT: ("the disk quota is used up", _FREE),
    errno.EFBIG: ("the file would be larger than the limit (ulimit -f)", "Raise the limit"),
    errno.EROFS: ("the file system is read-only", "Mount it for writing"),
    errno.EACCES: ("permission denied", _RIGHTS),
    errno.EPERM: ("permission denied", _RIGHTS),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", _MOVE),
    errno.EISDIR: ("this is a folder, not a file", _MOVE),
    errno.ENAMETOOLONG: ("the name is too long", _MOVE),
    errno.EIO: ("the disk reports a fault", _MOVE),
}
"""What is wrong by the error's number, and what a user can do."""

_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "storage size calculation overflowed",
)
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)
_IN_WORKER = "in DataLoader worker process"


class UserError(Exception):
    """A mistake that the user can mend. The text names the key, its value and what to set instead, in one or two lines."""


class Interrupted(Exception):
    """The run was stopped by a signal after it had saved a checkpoint."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 + the signal's number: 130 for SIGINT, 143 for SIGTERM."""
        return SIGNAL_BASE + self.signum


class OtherRankError(Exception):
    """Another of the ranks that train together has failed, and says why; this one has nothing to add."""


def nearest(word: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The choices that look most like `word`, best first; an exact match inside a longer name counts too."""
    names = sorted(set(choices))
    close = difflib.get_close_matches(word, names, n=count, cutoff=0.55)
    inside = [name for name in names if word and (word in name or name in word) and name not in close]
    return (close + inside)[:count]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'lr'?` with a leading space, or the empty string when nothing is near."""
    close = nearest(word, choices)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def written(value: object) -> str:
    """A value as a yaml or a command line writes it: None is null, True is true."""
    if value is None:
        return "null"
    if isinstance(value, tuple):
        value = list(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_choice(key: str, value: object, choices: Iterable[str]) -> None:
    """Raises UserError unless `value` is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise UserError(
            f"{key}={written(value)} is not one of {', '.join(map(str, names))}.{did_you_mean(str(value), map(str, names))}"
        )


def check_range(key: str, value: float, low: float | None = None, high: float | None = None, hint: str = "") -> None:
    """Raises UserError unless low <= value <= high (a bound that is None is open)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and value == value and (low is None or value >= low) and (high is None or value <= high):
        return
    if low is not None and high is not None:
        wanted = f"a number from {low} to {high}"
    elif low is not None:
        wanted = f"a number of at least {low}"
    else:
        wanted = f"a number of at most {high}" if high is not None else "a number"
    raise UserError(f"{key}={written(value)}: set {wanted}.{' ' + hint if hint else ''}")


def check_count(key: str, value: object, low: int = 1) -> None:
    """Raises UserError unless `value` is a whole number of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise UserError(f"{key}={written(value)}: set a whole number of at least {low}.")


class DiskFault(NamedTuple):
    """What is wrong with a disk or a path, and how to mend it."""

    what: str
    remedy: str


def disk_fault(error: OSError) -> DiskFault | None:
    """What a user is told of a fault of the system that a user can mend; None for others."""
    return DiskFault(*_DISK[error.errno]) if error.errno in _DISK else None


@contextlib.contextmanager
def out_of_memory(remedy: str) -> Iterator[None]:
    """Says `remedy` where memory gives out in the block, in place of what training could do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory{_asked(str(error))}.\n{remedy}") from error


class Explanation(NamedTuple):
    """How a process says why it ends."""

    text: str | None  # None: the fault is ours, and a traceback says more than words; empty: it was said elsewhere
    code: int  # the exit code


def explain(error: BaseException) -> Explanation:
    """What to tell a user about an exception, and the exit code that goes with it."""
    for cause in causes(error):
        if isinstance(cause, Interrupted):
            return Explanation(str(cause), cause.exit_code)
        if isinstance(cause, OtherRankError):
            return Explanation("", EXIT_USER)
        if isinstance(cause, UserError):
            return Explanation(_without_worker(str(cause)), EXIT_USER)
    if isinstance(error, KeyboardInterrupt):
        return Explanation("interrupted", SIGNAL_BASE + signal.SIGINT)
    for cause in causes(error):
        text = _machine(cause)
        if text is not None:
            return Explanation(text, EXIT_USER)
    return Explanation(None, EXIT_USER)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was explicitly raised from, outermost first.

    What merely happened to be handled at the time (`__context__`) is left out: a bug in the code that handles a user's
    mistake must not pass for that mistake.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _machine(error: BaseException) -> str | None:
    """The text for a disk or a memory that gave out, or None."""
    fault = disk_fault(error) if isinstance(error, OSError) else None
    if isinstance(error, OSError) and fault:
        where = error.filename if error.filename is not None else f"writing under {Path.cwd()}"
        return f"{where}: {fault.what}. {fault.remedy}, or start from another folder: runs go to outputs/ under it."
    if is_out_of_memory(error):
        return (
            f"out of memory{_asked(str(error))}.\nLower task.batch_size (and raise trainer.accumulate_grad_batches by as "
            "much), task.seq_len or model.dim."
        )
    return None


def _asked(text: str) -> str:
    """How much memory was asked for, as far as an allocator says so."""
    found = _ASKED.search(text)
    if found is None:
        return ""
    amount = f"{float(found[1]) / 2**30:,.2f} GiB" if found[2].lower() == "bytes" else f"{found[1]} {found[2]}"
    return f": {amount} more could not be had"


def is_out_of_memory(error: BaseException) -> bool:
    named = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    return named or isinstance(error, MemoryError)


def _without_worker(text: str) -> str:
    """The text as it was raised, when a DataLoader's worker has wrapped it into its traceback."""
    if _IN_WORKER not in text.partition("\n")[0]:
        return text
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    return text.rpartition(name)[2].strip() if name in text else text
