"""One console for a run: what goes to the screen also goes, as plain lines and without secrets, into train.log."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from rich.console import Console, NewLine
from rich.control import Control
from rich.segment import Segment

from manyheads.run.secrets import mask

LOG_WIDTH = 120
PIPED_WIDTH = 1_000  # nobody wraps a file: a line of the log is a line
_BLANKS = re.compile(r"[ \t]+$", re.MULTILINE)


class RunConsole(Console):
    """A rich console that also writes to a log file once the run has a folder. Live displays are not logged."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=False, **options)
        if not self.is_terminal and "width" not in options and "COLUMNS" not in os.environ:
            self.width = PIPED_WIDTH
        self._log: Console | None = None
        self._waiting: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def log_to(self, path: Path) -> None:
        """Opens the log, appending; what was printed before goes first."""
        file = path.open("a", encoding="utf-8", buffering=1)
        self._log = _MaskingConsole(file=file, width=LOG_WIDTH, color_system=None, highlight=False)
        for objects, options in self._waiting:
            self._log.print(*objects, **options)
        self._waiting.clear()

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints to the screen and to the log."""
        super().print(*objects, **options)
        if any(isinstance(item, Control | NewLine) for item in objects):  # from a live display
            return
        if self._log is None:
            self._waiting.append((objects, options))
        else:
            self._log.print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Ends as every verb does whose reader went away; rich's own way out is exit code 1."""
        raise BrokenPipeError

    def _render_buffer(self, buffer: Any) -> str:
        text = super()._render_buffer(buffer)
        return text if self.is_terminal else _BLANKS.sub("", text)

    def close(self) -> None:
        """Closes the log."""
        if self._log is not None:
            self._log.file.close()
            self._log = None


class _MaskingConsole(Console):
    def _render_buffer(self, buffer: Any) -> str:
        masked = [Segment(mask(text), style, control) for text, style, control in buffer]
        return _BLANKS.sub("", super()._render_buffer(masked))
