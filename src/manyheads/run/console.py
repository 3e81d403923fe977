"""One console for a run: what goes to the screen also goes, as plain lines and without secrets, into the rank's log."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console, NewLine
from rich.control import Control
from rich.segment import Segment

from manyheads.errors import explain
from manyheads.run.secrets import mask, mask_said

LOG_WIDTH = 120
PIPED_WIDTH = 1_000  # nobody wraps a file: a line of the log is a line
_BLANKS = re.compile(r"[ \t]+$", re.MULTILINE)


class RunConsole(Console):
    """A rich console that also writes to a log file once the run has a folder. Live displays are not logged.

    From then on the log also gets warnings, of Python's `warnings` and of `logging`, which are shown as they were; and what
    the run ended with, when that is an exception.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=False, **options)
        if not self.is_terminal and "width" not in options and "COLUMNS" not in os.environ:
            self.width = PIPED_WIDTH
        self._path: Path | None = None
        self._log: _MaskingConsole | None = None
        self._waiting: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._heard: list[Callable[[], None]] = []

    def log_to(self, path: Path) -> None:
        """Logs there, appending; what was printed before goes first.

        The file is opened when something is to be written, so that a resume which is refused leaves it as it was.
        """
        self._path = path
        self._heard = [_hear_logging(self._say), _hear_warnings(self._say)]

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints to the screen and to the log."""
        super().print(*objects, **options)
        if any(isinstance(item, Control | NewLine) for item in objects):  # from a live display
            return
        self._waiting.append((objects, options))
        self._write()

    def on_broken_pipe(self) -> None:
        """Ends as every verb does whose reader went away; rich's own way out is exit code 1."""
        raise BrokenPipeError

    def _render_buffer(self, buffer: Any) -> str:
        text = super()._render_buffer(buffer)
        return text if self.is_terminal else _BLANKS.sub("", text)

    def close(self) -> None:
        """Closes the log. While an exception passes, its text goes there first."""
        for stop in reversed(self._heard):
            stop()
        self._heard.clear()
        if self._log is not None:
            if (error := sys.exc_info()[1]) is not None:
                self._say("error: " + (explain(error).text or "".join(traceback.format_exception(error)).rstrip()))
            self._log.file.close()
        self._log = self._path = None

    def _say(self, text: str) -> None:
        self._waiting.append(((mask_said(text),), {"markup": False, "soft_wrap": True}))
        self._write()

    def _write(self) -> None:
        """Writes what waits into the log, if it is known where that is."""
        if self._path is None:
            return
        if self._log is None:
            file = self._path.open("a", encoding="utf-8", buffering=1)
            self._log = _MaskingConsole(file=file, width=LOG_WIDTH, color_system=None, highlight=False)
        waiting, self._waiting = self._waiting, []
        for objects, options in waiting:
            self._log.print(*objects, **options)


class _ToLog(logging.Handler):
    """Passes warnings on. A logger without a handler of its own prints them too, as it would without this one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"{record.levelname.lower()}: {record.getMessage()}")
        if logging.lastResort is not None and not _has_handler(logging.getLogger(record.name)):
            logging.lastResort.handle(record)


def _has_handler(logger: logging.Logger | None) -> bool:
    while logger is not None:
        if any(not isinstance(handler, _ToLog) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _hear_logging(say: Callable[[str], None]) -> Callable[[], None]:
    """Listens to every logger, those that keep their records to themselves included; returns what stops it."""
    handler = _ToLog(say)
    known = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    ears = [logging.root, *(logger for logger in known if not logger.propagate)]
    for logger in ears:
        logger.addHandler(handler)

    def stop() -> None:
        for logger in ears:
            logger.removeHandler(handler)

    return stop


def _hear_warnings(say: Callable[[str], None]) -> Callable[[], None]:
    """Listens to Python's warnings, which are shown as before; returns what stops it."""
    before = warnings.showwarning

    def show(message: Any, category: type[Warning], filename: str, lineno: int, *rest: Any, **named: Any) -> None:
        say(f"warning: {category.__name__}: {message}")
        before(message, category, filename, lineno, *rest, **named)

    def stop() -> None:
        if warnings.showwarning is show:
            warnings.showwarning = before

    warnings.showwarning = show
    return stop


class _MaskingConsole(Console):
    def _render_buffer(self, buffer: Any) -> str:
        masked = [Segment(mask(text), style, control) for text, style, control in buffer]
        return _BLANKS.sub("", super()._render_buffer(masked))
