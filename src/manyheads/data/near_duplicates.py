"""Training rows that nearly repeat another row are left out."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from manyheads.data.cache import cached, cached_before, fingerprint
from manyheads.data.derived import Derived, check_has_text, clip, evaluated
from manyheads.data.fields import Fields
from manyheads.data.minhash import Bands, band_hashes, bands_for
from manyheads.data.source import Source
from manyheads.data.words import Hashes, WordHashes, ngrams

if TYPE_CHECKING:
    from datasets import Dataset

REPORT = "near_duplicates.json"
EXAMPLES = 20
MATES = 32
"""Rows that a row is compared with for each band it shares with them, at most: the first ones."""

_LAYOUT = 1
_KEPT = "kept.npy"
_BANDS = "bands.bin"


@final
class WithoutNearDuplicates(Derived):
    """The rows of a source without those of train that nearly repeat an earlier row that is kept, or a validation or
    test row.

    Two rows nearly repeat each other when the Jaccard similarity of their sets of word n-grams reaches the threshold.
    Candidates are found by MinHash (Broder 1997) with bands, then compared exactly: what is left out is as alike as
    said, and at least 99 of 100 rows that are just as alike are found. The cut is that of Lee et al. 2022,
    "Deduplicating Training Data Makes Language Models Better", section 4.2 (NearDup). A row of fewer than n words is
    compared as a whole; where rows are parts of one running text, it is kept.
    """

    def __init__(self, inner: Source, threshold: float, n: int) -> None:
        super().__init__(inner)
        self._threshold = threshold
        self._n = n

    def ask(self, fields: Fields) -> None:
        """Asks the source. Raises UserError for rows without a text."""
        check_has_text(fields, "data.near_duplicates")
        super().ask(fields)

    @property
    def fingerprint(self) -> str:
        return fingerprint("near_duplicates", _LAYOUT, self.inner.fingerprint, self._threshold, self._n)

    @property
    def notes(self) -> list[str]:
        folder = cached_before("near_duplicates", self.fingerprint)
        said = "training rows that nearly repeat another row are left out"
        return [*self.inner.notes, self._found_in_words(_read(folder)) if folder else said]

    @property
    def reports(self) -> dict[str, Any]:
        if "train" not in self.given:
            return self.inner.reports
        return {**self.inner.reports, REPORT: _read(self._folder)}

    def load(self, split: str) -> Dataset:
        rows = self.inner.rows(split)
        return rows.select(np.load(self._folder / _KEPT)) if split == "train" else rows

    @functools.cached_property
    def _folder(self) -> Path:
        def make(folder: Path) -> None:
            kept, report = _Search(self.inner, self._threshold, self._n, folder).run()
            np.save(folder / _KEPT, kept)
            (folder / REPORT).write_text(json.dumps(report), encoding="utf-8")

        return cached("near_duplicates", self.fingerprint, make)

    def _found_in_words(self, report: dict[str, Any]) -> str:
        removed, of = report["removed"], report["removed_for"]
        said = f"{removed:,} of {report['rows']:,} training rows nearly repeat another and are left out"
        if not removed:
            return said
        whose = ", ".join(f"{count:,} one of {split}" for split, count in of.items() if count)
        first = report["examples"][0]
        return (
            f"{said} ({whose}), e.g. {clip(first['text'], 40)!r} for {clip(first['repeats']['text'], 40)!r}; {REPORT}"
        )


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / REPORT).read_text(encoding="utf-8"))


class _Match(NamedTuple):
    row: int
    mate: int
    jaccard: float


class _Search:
    """One search over all rows, which are numbered through: those that are scored first, then those of train.

    On disk it takes 8 bytes for each row and band; in memory, the rows that share a band with another.
    """

    def __init__(self, inner: Source, threshold: float, n: int, folder: Path) -> None:
        self._inner, self._threshold, self._n = inner, threshold, n
        self._file = folder / _BANDS
        self._bands: Bands = bands_for(threshold)
        self._words = WordHashes()
        self._first: dict[str, int] = {}  # of each split, the number of its first row
        self._rows = {split: inner.rows(split) for split in (*evaluated(inner), "train")}

    def run(self) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """The rows of train that are kept, and the report."""
        self._write_bands()
        found = self._matches()
        self._file.unlink()
        removed = np.array([match.row - self._first["train"] for match in found], np.int64)
        kept = np.setdiff1d(np.arange(len(self._rows["train"])), removed, assume_unique=True)
        splits = [self._place(match.mate)[0] for match in found]
        return kept, {
            "threshold": self._threshold,
            "ngram": self._n,
            "rows": len(self._rows["train"]),
            "removed": len(found),
            "removed_for": {split: splits.count(split) for split in ("train", "validation", "test")},
            "examples": [self._example(match) for match in found[:EXAMPLES]],
        }

    def _write_bands(self) -> None:
        number = 0
        with self._file.open("wb") as file:
            for split in self._rows:
                self._first[split] = number
                for texts in self._inner.texts(split):
                    file.write(self._bands_of(texts).tobytes())
                    number += len(texts)

    def _bands_of(self, texts: list[str]) -> Hashes:
        """[rows, bands]; 0 in rows that are not compared."""
        sets = [self._shingles(text) for text in texts]
        filled = [place for place, members in enumerate(sets) if len(members)]
        found = np.zeros((len(texts), self._bands.number), np.uint64)
        if filled:
            starts = np.cumsum([0, *(len(sets[place]) for place in filled[:-1])])
            found[filled] = band_hashes(np.concatenate([sets[place] for place in filled]), starts, self._bands)
        return found

    def _shingles(self, text: str) -> Hashes:
        hashes = self._words.of(text)
        short = not self._inner.join_rows and 0 < len(hashes) < self._n
        return ngrams(hashes, len(hashes) if short else self._n)

    def _matches(self) -> list[_Match]:
        """Each training row that goes, in order, with the row that it repeats."""
        hashes = np.memmap(self._file, np.uint64, "r+").reshape(-1, self._bands.number)
        shared = np.zeros(len(hashes), bool)
        for band in range(self._bands.number):
            _, inverse, counts = np.unique(hashes[:, band], return_inverse=True, return_counts=True)
            hashes[counts[inverse] == 1, band] = 0
            shared |= hashes[:, band] != 0
        sets = functools.lru_cache(maxsize=10_000)(lambda row: np.unique(self._shingles(self._text(row))))
        buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
        found = []
        for row in np.flatnonzero(shared).tolist():
            keys = [(band, value) for band, value in enumerate(hashes[row].tolist()) if value]
            match = self._match(row, sorted({mate for key in keys for mate in buckets[key]}), sets)
            if match:
                found.append(match)
                continue
            for key in keys:
                if len(buckets[key]) < MATES:
                    buckets[key].append(row)
        return found

    def _match(self, row: int, mates: list[int], sets: Any) -> _Match | None:
        """The first row that a training row repeats."""
        if row < self._first["train"]:
            return None
        for mate in mates:
            one, other = sets(row), sets(mate)
            both = len(np.intersect1d(one, other, assume_unique=True))
            jaccard = both / (len(one) + len(other) - both)
            if jaccard >= self._threshold:
                return _Match(row, mate, jaccard)
        return None

    def _place(self, row: int) -> tuple[str, int]:
        split = next(split for split in reversed(self._first) if self._first[split] <= row)
        return split, row - self._first[split]

    def _text(self, row: int) -> str:
        split, place = self._place(row)
        return self._rows[split][place]["text"] or ""

    def _example(self, match: _Match) -> dict[str, Any]:
        split, place = self._place(match.mate)
        repeats = {"split": split, "row": place, "text": clip(self._text(match.mate))}
        number = self._place(match.row)[1]
        return {
            "row": number,
            "text": clip(self._text(match.row)),
            "jaccard": round(match.jaccard, 4),
            "repeats": repeats,
        }
