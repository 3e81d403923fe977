"""The sources of a mixture of tasks: each member's own rows, seen as one where only texts and names count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from manyheads.data.cache import fingerprint
from manyheads.data.derived import Derived
from manyheads.data.source import SPLITS, Source

if TYPE_CHECKING:
    from datasets import Dataset

_LAYOUT = 1


@final
class Together(Source):
    """What a tokenizer is trained on, and what a run says of its data, where each member of a mixture reads rows of its own.

    Unlike those of a `Mixture` of sources its rows have nothing in common but that they hold texts: they are read of the
    members, each of which was asked for the fields of its task.

    Attributes:
        members: by name.
    """

    def __init__(self, members: Mapping[str, Source]) -> None:
        names = dict.fromkeys(member.name for member in members.values())
        super().__init__(name=" + ".join(names), join_rows=False, validation_fraction=0)
        self.members = members

    @property
    def fingerprint(self) -> str:
        found = [[name, member.fingerprint, list(member.fields)] for name, member in self.members.items()]
        return fingerprint("together", _LAYOUT, found)

    @property
    def given(self) -> tuple[str, ...]:
        """The splits that every member has, or cuts."""
        return tuple(split for split in SPLITS if all(split in Derived(one).given for one in self.members.values()))

    @property
    def notes(self) -> list[str]:
        return [f"{name}: {note}" for name, member in self.members.items() for note in member.notes]

    @property
    def reports(self) -> dict[str, Any]:
        return {f"{name}.{file}": report for name, one in self.members.items() for file, report in one.reports.items()}

    def load(self, split: str) -> Dataset:
        raise AssertionError("rows are read of a member, whose columns they have")

    def texts(self, split: str) -> Iterator[list[str]]:
        for member in self.members.values():
            yield from member.texts(split)

    def pieces(self, split: str) -> Iterator[tuple[list[str], list[int]]]:
        for member in self.members.values():
            yield from member.pieces(split)
