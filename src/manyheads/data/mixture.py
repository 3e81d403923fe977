"""mixture: several sources as one, each with its share of the training tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from manyheads.data.cache import fingerprint
from manyheads.data.derived import Derived
from manyheads.data.fields import Fields
from manyheads.data.mixing import checked_weights
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, written
from manyheads.marks import builder

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLE = "+data@data.sources.books=text data.sources.books.path=FILE"
_LAYOUT = 1


@builder
def mixture(*, sources: dict[str, Any], weights: dict[str, Any] | None = None) -> Mixture:
    """Several sources, each built as it would be alone, with all the options of its kind.

    Args:
        sources: the sources by a name of one's own.
        weights: the share of the training tokens of each, in any unit; null: each as large as it is. One of weight 0 is
            scored and helps to train the tokenizer, but is not trained on.

    Raises UserError for fewer than two sources, one that occurs twice or is a stream, and weights that are no shares.
    """
    if len(sources) < 2:
        there = f"data.sources has {next(iter(sources))} alone" if sources else "data.sources is empty"
        raise UserError(f"{there}: a mixture needs two sources at least. Add one, e.g. {EXAMPLE}")
    for name, source in sources.items():
        _check_source(name, source)
    _check_twice(sources)
    return Mixture(
        sources, None if weights is None else checked_weights(weights, sources, key="data.weights", what="source")
    )


@final
class Mixture(Source):
    """Members one after the other in each split; in training, rows of theirs by weight.

    Each member's own splits are scored, whole: every byte counts once, whatever the weights. A member that is used up
    begins anew. Tokenizers are trained on the training splits of all.
    """

    def __init__(self, members: Mapping[str, Source], weights: Mapping[str, float] | None) -> None:
        super().__init__(name=" + ".join(members), join_rows=False, validation_fraction=0)
        self._members = members
        self._weights = weights

    def ask(self, fields: Fields) -> None:
        super().ask(fields)
        for member in self._members.values():
            member.ask(fields)

    @property
    def fingerprint(self) -> str:
        members = [[name, member.fingerprint, member.join_rows] for name, member in self._members.items()]
        return fingerprint("mixture", _LAYOUT, members, self._weights and dict(self._weights))

    @property
    def given(self) -> tuple[str, ...]:
        """The splits that every member has, or cuts."""
        return tuple(
            split for split in SPLITS if all(split in Derived(member).given for member in self._members.values())
        )

    @property
    def parts(self) -> Mapping[str, Source]:
        return self._members

    @property
    def weights(self) -> Mapping[str, float] | None:
        return self._weights

    @property
    def notes(self) -> list[str]:
        return [f"{name}: {note}" for name, member in self._members.items() for note in member.notes]

    @property
    def reports(self) -> dict[str, Any]:
        return {
            f"{name}.{file}": report
            for name, member in self._members.items()
            for file, report in member.reports.items()
        }

    def uncut(self) -> Source:
        return Mixture({name: member.uncut() for name, member in self._members.items()}, self._weights)

    def load(self, split: str) -> Dataset:
        import datasets

        return datasets.concatenate_datasets(
            [member.rows(split).select_columns([*self.fields.required]) for member in self._members.values()]
        )

    def texts(self, split: str) -> Iterator[list[str]]:
        for member in self._members.values():
            yield from member.texts(split)

    def pieces(self, split: str) -> Iterator[tuple[list[str], list[int]]]:
        for member in self._members.values():
            yield from member.pieces(split)


def _check_source(name: str, source: Any) -> None:
    if not isinstance(source, Source):
        raise UserError(f"data.sources.{name}={written(source)} names no source. Choose one, e.g. {EXAMPLE}")
    if len(source.parts) > 1:
        raise UserError(f"data.sources.{name} is a mixture itself. Put its sources beside the others.")
    if source.stream() is not None:
        raise UserError(
            f"data.sources.{name}.streaming=true: a mixture has to know how large its sources are. Set it to false."
        )


def _check_twice(sources: Mapping[str, Source]) -> None:
    seen: dict[str, str] = {}
    for name, source in sources.items():
        first = seen.setdefault(source.fingerprint, name)
        if first != name:
            raise UserError(f"data.sources.{name} is the same data as data.sources.{first}. Leave one out.")
