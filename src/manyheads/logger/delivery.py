"""Hands things to a server in a thread of its own, in order and until it has them, so that nobody waits for the server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from typing import Any, NamedTuple

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds to wait after one failure, after a second in a row, ...; the last holds from then on."""


class Parcel(NamedTuple):
    """One thing to deliver; neighbours of one kind go together."""

    kind: str
    item: Any


class Delivery:
    """Sends parcels in the order in which they were put.

    Args:
        send: takes a kind and the items of at most `most` parcels of that kind; it raises when they were not taken.
        hopeless: whether an error would come again, so that these items are given up and the next ones are tried;
            after any other the same items are sent again, after a pause.
        on_trouble: told of the first error.
        most: how many items are sent at once.
    """

    def __init__(
        self,
        send: Callable[[str, Sequence[Any]], None],
        *,
        hopeless: Callable[[Exception], bool],
        on_trouble: Callable[[Exception], None],
        most: int = 100,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._send = send
        self._hopeless = hopeless
        self._on_trouble = on_trouble
        self._most = most
        self._pauses = pauses
        self._waiting: deque[Parcel] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._given_up = 0
        self._told = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def put(self, kind: str, item: Any) -> None:
        """Takes one more thing to deliver; returns at once."""
        with self._changed:
            self._waiting.append(Parcel(kind, item))
            self._changed.notify()

    def close(self, seconds: float) -> int:
        """Waits at most so long for what is left, and tries that once more; gives the number of things not delivered."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            return len(self._waiting) + self._given_up

    def _run(self) -> None:
        failures = 0
        while batch := self._next():
            try:
                self._send(batch[0].kind, [parcel.item for parcel in batch])
            except Exception as error:  # whatever a client raises
                self._tell(error)
                if not self._hopeless(error):
                    if self._closing:
                        return
                    self._pause(self._pauses[min(failures, len(self._pauses) - 1)])
                    failures += 1
                    continue
                self._given_up += len(batch)
            failures = 0
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()

    def _next(self) -> list[Parcel]:
        """The parcels to send now, which stay in the queue; none when all is delivered and no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            alike = takewhile(lambda parcel: parcel.kind == self._waiting[0].kind, self._waiting)
            return list(islice(alike, self._most))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout=seconds)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            self._on_trouble(error)
