"""What a run asks of a logger besides numbers: that it takes texts, and that it is told how the run ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from manyheads.run.results import Status


@runtime_checkable
class LogsTexts(Protocol):
    """A logger that takes rows of text, as Lightning's for W&B does too."""

    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any | None = None,
        step: int | None = None,
    ) -> None:
        """Logs a table with one row for each text."""


@runtime_checkable
class LogsPages(Protocol):
    """A logger that takes pages of HTML."""

    def log_page(self, key: str, path: Path, step: int | None = None) -> None:
        """Logs the page in a file."""


class RunLogger(ABC):
    """A logger that belongs to one run: it outlives `fit`, since testing follows, and is closed once.

    `id_name` is the key of results.json under which the run's id in the logger's own store is kept, so that a resumed run
    goes on in it; None where the run folder alone says which run it is. The id is `version`.
    """

    id_name: ClassVar[str | None] = None

    @abstractmethod
    def close(self, status: Status = "done") -> None:
        """Ends the run with a status. A second call does nothing. Never raises, and waits for seconds at most."""


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a config by their dotted keys; a list is a leaf."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
