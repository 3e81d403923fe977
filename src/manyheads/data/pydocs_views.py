"""The views of pydocs: which fields its rows can have, and how they are made from the documentation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from manyheads.data.docstrings import topic_texts
from manyheads.data.pydocs_definitions import Definition, definitions
from manyheads.data.pydocs_descriptions import description_rows
from manyheads.data.pydocs_groups import GROUPS, group_of
from manyheads.data.pydocs_labels import label_rows
from manyheads.data.pydocs_messages import message_rows
from manyheads.data.pydocs_questions import question_rows
from manyheads.data.pydocs_rows import Row, unique
from manyheads.data.pydocs_split import Split, split_by_name, split_evenly
from manyheads.data.pydocs_summaries import summary_rows
from manyheads.data.pydocs_texts import whole_texts
from manyheads.errors import UserError

Sizes = Mapping[str, Mapping[str, int]]
"""Bytes of each module's documentation, by group and module. Each group is split by itself, so all splits have some."""


class Made(NamedTuple):
    """The rows of a view, each with its module besides the fields, and the sizes that they are split by."""

    rows: list[Row]
    sizes: Sizes


@final
@dataclass(frozen=True, kw_only=True)
class View:
    """Rows of one kind.

    Attributes:
        fields: the columns.
        said: what a row is, for the screen.
        make: makes the rows from the folder of a standard library and the files of its modules; imports none of them.
        split: how the modules of each group go to the splits.
        layout: counts up when `make` makes other rows of the same files, so that those in a cache are made anew.
    """

    fields: tuple[str, ...]
    said: str
    make: Callable[[Path, Mapping[str, Path]], Made]
    split: Split = split_evenly
    layout: int = 1


def _texts(library: Path, files: Mapping[str, Path]) -> Made:
    texts = whole_texts(library, files)
    sizes = {name: len(text.encode()) for name, text in texts.items()}
    return Made([{"text": text, "module": name} for name, text in texts.items()], {"": sizes})


def _defined(rows_of: Callable[[list[Definition]], Iterable[Row]]) -> Callable[[Path, Mapping[str, Path]], Made]:
    def make(library: Path, files: Mapping[str, Path]) -> Made:
        found = definitions(files)
        return Made(list(rows_of(found)), _sizes(found, {}))

    return make


def _messages(library: Path, files: Mapping[str, Path]) -> Made:
    found = definitions(files)
    topics = {name.removeprefix("topic:"): page for name, ((_, page),) in topic_texts(library).items()}
    return Made(list(message_rows(found, topics)), _sizes(found, topics))


def _sizes(found: Iterable[Definition], topics: Mapping[str, str]) -> Sizes:
    """The same for every view, so that a module is in the same split in all of them."""
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for definition in found:
        sizes[group_of(definition.module)][definition.module] += len(definition.doc.encode())
    if topics:
        sizes["topics"] = {f"topic:{name}": len(page.encode()) for name, page in topics.items()}
    return sizes


_ALL = (
    View(fields=("text",), said="all the text of a module or topic", make=_texts, split=split_by_name),
    View(
        fields=("text", "label"),
        said=f"a docstring and which of {len(GROUPS)} parts of the library it is from",
        make=_defined(label_rows),
    ),
    View(
        fields=("document", "summary"),
        said="a docstring and its first sentence",
        make=_defined(lambda found: unique(summary_rows(found), "document")),
    ),
    View(
        fields=("context", "question", "answers", "id"),
        said="a question about a signature and its docstring, which 15% leave open",
        make=_defined(question_rows),
    ),
    View(
        fields=("source", "target"),
        said="a signature and what it is for",
        make=_defined(description_rows),
    ),
    View(fields=("messages",), said="one to three questions and answers", make=_messages),
)
VIEWS: Mapping[tuple[str, ...], View] = {view.fields: view for view in _ALL}
"""By their fields."""


def view_of(fields: Sequence[str]) -> View:
    """The view that has all these fields and the fewest others, whatever their order.

    Raises UserError that names the views there are when none has them.
    """
    fitting = [view for view in VIEWS.values() if set(fields) <= set(view.fields)]
    if not fields or not fitting:
        raise UserError(
            f"data=pydocs has no rows with {_listed(fields)}, only with "
            f"{' or '.join(map(_listed, VIEWS))}. Set data to rows of your own, e.g. data=json."
        )
    return min(fitting, key=lambda view: len(view.fields))


def _listed(fields: Sequence[str]) -> str:
    return f"({', '.join(fields)})"
