"""Training texts that are read as they are trained on, from a place that can be saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, final

from manyheads.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from datasets import IterableDataset


class StreamPlace(TypedDict, total=False):
    """Where a stream stands. The empty one is its beginning."""

    read: int  # rows that were read, those left out too
    rows: dict[str, Any]  # the state of the IterableDataset


class Block(NamedTuple):
    """Some rows that follow on each other."""

    texts: list[str]
    ended: bool  # no row comes after them


@final
@dataclass(kw_only=True)
class StreamedRows:
    """Rows of an IterableDataset of the library `datasets`, opened anew for each pass.

    Attributes:
        open: the rows from the first on. With several ranks, here each would be given its share (`datasets.distributed`'s
            `split_dataset_by_node`); as it is, all of them read the whole and take their rows of each block.
        text_column: the column that holds a row's text; a missing text is the empty one.
        where: what they are called in an error.
        diagnose: makes a UserError of what reading raises; None when it is no user's mistake.
    """

    open: Callable[[], IterableDataset]
    text_column: str
    where: str
    diagnose: Callable[[Exception], UserError | None]

    def texts(self, place: StreamPlace) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """Each text from a place on, and what gives the state after it."""
        try:
            rows = self.open()
            if place:
                rows.load_state_dict(place["rows"])
            for row in rows:
                yield self._text(row), rows.state_dict
        except (UserError, OSError):
            raise
        except Exception as error:
            mistake = self.diagnose(error)
            if mistake is None:
                raise
            raise mistake from error

    def _text(self, row: dict[str, Any]) -> str:
        if self.text_column not in row:
            raise UserError(
                f"data.text_column={self.text_column} is no column of {self.where}."
                f"{did_you_mean(self.text_column, row)} It has: {', '.join(row)}."
            )
        text = row[self.text_column]
        if text is not None and not isinstance(text, str):
            raise UserError(
                f"data.text_column={self.text_column} of {self.where} holds no text but {type(text).__name__}. "
                "Set the name of a column with text."
            )
        return text or ""


@final
@dataclass
class RowStream:
    """The training texts of a source, block by block, pass after pass.

    Attributes:
        rows: what is read.
        block_bytes: UTF-8 in a block, at least; the last of a pass has what is left.
        left_out: whether a row, given its number and its text, belongs to another split.
        changes: what is done to the texts of a block, in order.
    """

    rows: StreamedRows
    block_bytes: int
    left_out: Callable[[int, str], bool]
    changes: list[Callable[[list[str]], list[str]]] = field(default_factory=list)

    def changed(self, change: Callable[[list[str]], list[str]]) -> RowStream:
        """The same rows, with one more thing done to their texts."""
        return dataclasses.replace(self, changes=[*self.changes, change])

    def blocks(self, place: StreamPlace) -> Iterator[tuple[Block, StreamPlace]]:
        """The blocks from a place on to the end of the pass, each with the place after it; one at least."""
        texts: list[str] = []
        size, read, after = 0, place.get("read", 0), place
        for text, state in self.rows.texts(place):
            if (
                size >= self.block_bytes
            ):  # asked before the row is added, so that the last block is known to be the last
                yield Block(self._change(texts), False), after
                texts, size = [], 0
            if not self.left_out(read, text):
                texts.append(text)
                size += len(text.encode())
            read += 1
            if size >= self.block_bytes:
                after = StreamPlace(read=read, rows=state())
        yield Block(self._change(texts), True), StreamPlace()

    def _change(self, texts: list[str]) -> list[str]:
        for change in self.changes:
            texts = change(texts)
        return texts
