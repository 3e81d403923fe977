"""recall: rows without end in which a text names values by keys, and asks for them again: what a network can look up."""

from __future__ import annotations

import functools
import string
from typing import TYPE_CHECKING, final

import numpy as np

from manyheads.data.cache import fingerprint
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range
from manyheads.marks import builder

if TYPE_CHECKING:
    from datasets import Dataset

MARK = "?"
"""Between what is to be kept and what is asked."""
FILLER = "."
"""What stands between questions: nothing."""
KEYS = [*string.ascii_uppercase, *map(chr, range(0x4E00, 0x9FA6))]
VALUES = [*string.ascii_lowercase, *map(chr, range(0xAC00, 0xD7A4))]
_LAYOUT = 1


@builder
def recall(
    *,
    pairs: int = 8,
    queries: int | None = None,
    length: int = 64,
    keys: int = 26,
    values: int = 26,
    rows: int = 20_000,
    scored_rows: int = 1_000,
    seed: int = 1,
) -> Recall:
    """Made-up texts such as `KaQcBz?..Qc.BzKa.`: pairs of a key and its value, then some of the keys again, each with its value
    behind it, at chance places among full stops.

    Args:
        pairs: of keys and values in a row.
        queries: how many of the keys are asked for; None: all of them.
        length: characters of a row.
        keys: how many different keys there are. The first 26 are capital letters, further ones Chinese characters.
        values: how many different values there are: small letters, then Korean syllables. Each is drawn by itself.
        rows: of the training split.
        scored_rows: of validation, and of test.
        seed: what rows are drawn from; each split has numbers of its own.

    Raises UserError for numbers that do not fit together.

    Source: multi-query associative recall, Arora et al. 2023, "Zoology: Measuring and Improving Recall in Efficient Language
    Models", section 3. There values differ within a row, and the places of questions follow a power law.
    """
    asked = pairs if queries is None else queries
    check_range("data.pairs", pairs, 1, keys, hint="The upper end is data.keys: a key has one value.")
    check_range("data.queries", asked, 1, pairs, hint="The upper end is data.pairs.")
    check_range("data.keys", keys, 1, len(KEYS))
    check_range("data.values", values, 1, len(VALUES))
    for name, number in (("rows", rows), ("scored_rows", scored_rows)):
        check_range(f"data.{name}", number, 1)
    check_range("data.seed", seed, 0)
    if length < 2 * pairs + 1 + 2 * asked:
        raise UserError(
            f"data.length={length}: {pairs} pairs and {asked} questions take {2 * pairs + 1 + 2 * asked} characters. "
            "Set that or more, or smaller data.pairs."
        )
    return Recall(
        pairs=pairs,
        queries=asked,
        length=length,
        keys=keys,
        values=values,
        rows=rows,
        scored_rows=scored_rows,
        seed=seed,
    )


@final
class Recall(Source):
    """See `recall`."""

    def __init__(
        self, *, pairs: int, queries: int, length: int, keys: int, values: int, rows: int, scored_rows: int, seed: int
    ) -> None:
        super().__init__(name="recall", join_rows=False, validation_fraction=0.0)
        self.pairs, self.queries, self.length, self.keys, self.values = pairs, queries, length, keys, values
        self.sizes = {split: rows if split == "train" else scored_rows for split in SPLITS}
        self.seed = seed
        self._load = functools.cache(self._made)

    @property
    def fingerprint(self) -> str:
        settings = [self.pairs, self.queries, self.length, self.keys, self.values, self.seed]
        return fingerprint("recall", _LAYOUT, settings, self.sizes)

    @property
    def given(self) -> tuple[str, ...]:
        return SPLITS

    @property
    def remarks(self) -> list[str]:
        return [f"made up: {self.pairs} pairs in a row of {self.length} characters, then {self.queries} of their keys"]

    def load(self, split: str) -> Dataset:
        return self._load(split)

    def _made(self, split: str) -> Dataset:
        from datasets import Dataset

        random = np.random.default_rng([self.seed, SPLITS.index(split)])
        return Dataset.from_dict({"text": [self._row(random) for _ in range(self.sizes[split])]})

    def _row(self, random: np.random.Generator) -> str:
        keys = random.choice(self.keys, self.pairs, replace=False).tolist()
        pairs = [
            KEYS[key] + VALUES[value]
            for key, value in zip(keys, random.integers(self.values, size=self.pairs).tolist(), strict=True)
        ]
        asked = random.permutation(self.pairs)[: self.queries].tolist()
        free = self.length - 2 * self.pairs - len(MARK) - 2 * self.queries
        # which of the places of full stops and questions together are questions
        places = set(random.choice(free + self.queries, self.queries, replace=False).tolist())
        questions = iter(asked)
        behind = [pairs[next(questions)] if place in places else FILLER for place in range(free + self.queries)]
        return "".join([*pairs, MARK, *behind])
