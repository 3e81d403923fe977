"""Stop strings: text that ends a sample and is not part of it, found in text that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from manyheads.errors import UserError


@final
class StopText:
    """Passes text on until one of `stops` appears, and holds back what may yet become one.

    A stop string may begin in one piece and end in another, so the end of the text that is also the beginning of a stop
    string waits until the next piece decides. Of several stop strings the one that begins first counts.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self.stops = tuple(stops)
        if not all(isinstance(stop, str) and stop for stop in self.stops):
            raise UserError(f"stop={list(self.stops)}: set texts of at least one character.")
        self.stopped = False
        self._held = ""

    def push(self, piece: str) -> str:
        """The text that is now certain to belong to the sample; nothing more after a stop string."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self.stops) if at >= 0]
        if found and self._first_possible(text) >= min(found):
            self.stopped, self._held = True, ""
            return text[: min(found)]
        cut = self._first_possible(text)
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back, when no more text will come."""
        text, self._held = self._held, ""
        found = [at for at in (text.find(stop) for stop in self.stops) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        return text

    def _first_possible(self, text: str) -> int:
        """Where the earliest unfinished stop string at the end of `text` begins; the text's length if there is none."""
        for start in range(max(0, len(text) - max((len(stop) for stop in self.stops), default=0)), len(text)):
            if any(len(stop) > len(text) - start and stop.startswith(text[start:]) for stop in self.stops):
                return start
        return len(text)
