"""Source: where the rows of a data set come from."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from manyheads.data.fields import TEXT, Fields
from manyheads.data.split import BATCH_ROWS, Places, batches_of, batches_of_text, check_fraction, cut, note
from manyheads.errors import UserError, check_choice

if TYPE_CHECKING:
    from datasets import Dataset

    from manyheads.data.stream import RowStream

SPLITS: tuple[str, ...] = ("train", "validation", "test")


class Source(abc.ABC):
    """The rows of a data set in three splits. A split that the data does not have is cut from train when asked for.

    A final class says which splits are there (`given`) and loads them (`load`), each with the columns that were asked for
    (`ask`): by default a text, named "text".

    Attributes:
        name: what the screen calls the data.
        join_rows: rows are consecutive pieces of one running text, so nothing is put between them. Otherwise each row
            is a text of its own.
        validation_fraction: how much of train is set aside for each split that is not there.
    """

    def __init__(self, *, name: str, join_rows: bool, validation_fraction: float) -> None:
        check_fraction(validation_fraction)
        self.name = name
        self.join_rows = join_rows
        self.validation_fraction = validation_fraction
        self.fields = TEXT

    def ask(self, fields: Fields) -> None:
        """Says which columns rows must have; before anything is loaded."""
        self.fields = fields

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Hex digits that stand for the content of all rows and how they are split. Does not load them."""

    @property
    @abc.abstractmethod
    def given(self) -> tuple[str, ...]:
        """Which of train, validation and test the data itself has, in this order. Does not load them."""

    @abc.abstractmethod
    def load(self, split: str) -> Dataset:
        """The rows of a given split, in order, with the columns of `fields`."""

    @property
    def remarks(self) -> list[str]:
        """Sentences for the screen about where the rows come from. Does not load anything."""
        return []

    @property
    def notes(self) -> list[str]:
        """The remarks, and how the splits that were not there were made. Does not load anything."""
        cut_off = [note(self._missing, self.validation_fraction, self.join_rows)] if self._missing else []
        return [*self.remarks, *cut_off]

    def rows(self, split: str) -> Dataset:
        """The rows of "train", "validation" or "test", with the columns of `fields`.

        Raises UserError when the split is not there and cannot be cut from train, or has no row.
        """
        check_choice("split", split, SPLITS)
        if split in self.given and not (split == "train" and self._missing):
            found = self.load(split)
        elif "train" in self.given:
            found = self.load("train").select(self._cut[split])
        else:
            raise UserError(
                f"data ({self.name}) has no {split} split, only {', '.join(self.given)}. "
                f"Give one, e.g. data.path={{{split}: FILE}}, or a file with {split} in its name."
            )
        if len(found) == 0:
            raise UserError(f"data ({self.name}): the {split} split has no row. Set data with rows for {split}.")
        return found

    def texts(self, split: str) -> Iterator[list[str]]:
        """The texts of a split in order, those of about 1,000 rows at a time. A missing text (null) is the empty one."""
        fields = self.fields
        if fields == TEXT:
            yield from batches_of_text(lambda: self.rows(split), BATCH_ROWS)
            return
        columns = list(dict.fromkeys(path.partition(".")[0] for path in fields.texts))
        for values in batches_of(lambda: self.rows(split), columns, BATCH_ROWS):
            rows = (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))
            yield [text for row in rows for text in fields.strings(row)]

    def pieces(self, split: str) -> Iterator[tuple[list[str], list[int]]]:
        """The texts as `texts` gives them, and the bytes of UTF-8 that the raw text of each has, before any cleaning."""
        for texts in self.texts(split):
            yield texts, [len(text.encode()) for text in texts]

    @property
    def parts(self) -> Mapping[str, Source]:
        """The sources that it is mixed of, by name; itself alone when it is no mixture."""
        return {self.name: self}

    @property
    def weights(self) -> Mapping[str, float] | None:
        """The share of the training tokens that each of the parts is given; None: each as large as it is."""
        return None

    def stream(self) -> RowStream | None:
        """The training texts one after the other, where they are read as they are trained on; None: `texts` has them all."""
        return None

    def uncut(self) -> Source:
        """The same texts for scoring alone: nothing is set aside, and data without a split is a test split as a whole."""
        from manyheads.data.uncut import Uncut  # it is a Source itself

        return Uncut(self)

    @property
    def reports(self) -> dict[str, Any]:
        """What was found out about the data and is kept with a run: names of files to what JSON can hold.

        Computed when it is not cached, which may read every split.
        """
        return {}

    @property
    def _missing(self) -> list[str]:
        return [split for split in SPLITS if split not in self.given] if "train" in self.given else []

    @functools.cached_property
    def _cut(self) -> Places:
        return cut(
            lambda: self.load("train"),
            self._missing,
            self.validation_fraction,
            join_rows=self.join_rows,
            name=self.name,
            column=self.fields.required[0],
        )
