"""Contamination: what of the validation and test split stands in the training split too."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from manyheads.data.cache import cached, cached_before, fingerprint
from manyheads.data.derived import Derived, check_has_text, clip, evaluated
from manyheads.data.fields import Fields
from manyheads.data.source import Source
from manyheads.data.words import Hashes, WordHashes, ngrams, words

REPORT = "contamination.json"
EXAMPLES = 20

_LAYOUT = 1
_NO_ROW = -1


@final
class WithContamination(Derived):
    """The rows of a source as they are, and a report on the word n-grams that a scored split shares with train.

    A row overlaps when one of its n-grams is in train. Source: Brown et al. 2020 (GPT-3), appendix C, with n = 13. A row
    of fewer than n words cannot be judged; where rows are parts of one running text, n-grams run across them, and belong
    to the row in which they end. It reads every split once, which takes about as long as counting words; memory holds 32
    bytes for each n-gram of the scored splits.
    """

    def __init__(self, inner: Source, n: int) -> None:
        super().__init__(inner)
        self._n = n

    def ask(self, fields: Fields) -> None:
        """Asks the source. Raises UserError for rows without a text."""
        check_has_text(fields, "data.contamination")
        super().ask(fields)

    @property
    def notes(self) -> list[str]:
        folder = cached_before("contamination", self._key)
        if folder is None:
            return self.inner.notes
        report = _read(folder)
        return [*self.inner.notes, *(_in_words(report["ngram"], *item) for item in report["splits"].items())]

    @property
    def reports(self) -> dict[str, Any]:
        if "train" not in self.given or not evaluated(self.inner):
            return self.inner.reports

        def make(folder: Path) -> None:
            content = {"ngram": self._n, "splits": find(self.inner, self._n)}
            (folder / REPORT).write_text(json.dumps(content), encoding="utf-8")

        return {**self.inner.reports, REPORT: _read(cached("contamination", self._key, make))}

    @functools.cached_property
    def _key(self) -> str:
        return fingerprint(_LAYOUT, self.inner.fingerprint, self._n)


class _Grams(NamedTuple):
    hashes: Hashes  # [G] of all rows, one row after the other
    counts: NDArray[np.int64]  # [rows] how many each row has


def find(source: Source, n: int) -> dict[str, dict[str, Any]]:
    """For each scored split: rows, rows too short to judge, rows that overlap with train, their share, the worst ones."""
    hashes = WordHashes()
    scored = {split: _joined(_grams(source, split, n, hashes)) for split in evaluated(source)}
    known = np.unique(np.concatenate([grams.hashes for grams in scored.values()]))
    first = _first_rows(known, _grams(source, "train", n, hashes))
    return {split: _report(source, split, n, grams, known, first) for split, grams in scored.items()}


def _grams(source: Source, split: str, n: int, hashes: WordHashes) -> Iterator[_Grams]:
    """The n-grams of a split, about a thousand rows at a time."""
    tail = np.zeros(0, np.uint64)  # the last words of a running text
    for texts in source.texts(split):
        found = []
        for text in texts:
            row = np.concatenate([tail, hashes.of(text)])
            found.append(ngrams(row, n))
            tail = row[max(0, len(row) - n + 1) :] if source.join_rows else tail
        yield _Grams(np.concatenate(found), np.fromiter(map(len, found), np.int64, len(found)))


def _joined(parts: Iterator[_Grams]) -> _Grams:
    found = list(parts)
    return _Grams(np.concatenate([part.hashes for part in found]), np.concatenate([part.counts for part in found]))


def _first_rows(known: Hashes, parts: Iterator[_Grams]) -> NDArray[np.int64]:
    """[K] the first row of train with each of the known n-grams, or _NO_ROW."""
    first = np.full(len(known), _NO_ROW, np.int64)
    before = 0
    for hashes, counts in parts:
        rows = np.repeat(np.arange(before, before + len(counts)), counts)
        before += len(counts)
        places = np.searchsorted(known, hashes).clip(max=max(0, len(known) - 1))
        hit = known[places] == hashes if len(known) else np.zeros(len(hashes), bool)
        new, at = np.unique(places[hit], return_index=True)
        fresh = first[new] == _NO_ROW
        first[new[fresh]] = rows[hit][at[fresh]]
    return first


def _report(
    source: Source, split: str, n: int, grams: _Grams, known: Hashes, first: NDArray[np.int64]
) -> dict[str, Any]:
    met = first[np.searchsorted(known, grams.hashes)] if len(known) else np.zeros(0, np.int64)
    starts = np.cumsum(grams.counts) - grams.counts
    hits = np.diff(np.concatenate([[0], np.cumsum(met != _NO_ROW)])[np.append(starts, len(met))])
    judged = grams.counts > 0
    shares = np.divide(hits, grams.counts, out=np.zeros(len(hits)), where=judged)
    worst = np.lexsort((np.arange(len(hits)), -hits, -shares))[:EXAMPLES]
    return {
        "rows": len(hits),
        "too_short": int((~judged).sum()),
        "overlapping": int((hits > 0).sum()),
        "share": round(float((hits > 0).sum() / max(1, judged.sum())), 6),
        "examples": [
            _example(source, split, n, row, met[starts[row] : starts[row] + grams.counts[row]])
            for row in worst.tolist()
            if hits[row]
        ],
    }


def _example(source: Source, split: str, n: int, row: int, met: NDArray[np.int64]) -> dict[str, Any]:
    """A row with the longest run of words that it shares, and the row of train where that begins."""
    rows, train = source.rows(split), source.rows("train")
    text = rows[row]["text"] or ""
    found = words(text)
    before = row
    while source.join_rows and before > 0 and len(found) < len(met) + n - 1:
        before -= 1
        found = words(rows[before]["text"] or "") + found
    found = found[len(found) - len(met) - n + 1 :]
    start, length = _longest_run(met != _NO_ROW)
    place = int(met[start])
    return {
        "row": row,
        "text": clip(text),
        "ngrams": len(met),
        "overlapping": int((met != _NO_ROW).sum()),
        "shared": clip(" ".join(found[start : start + length + n - 1])),
        "train_row": place,
        "train_text": clip(train[place]["text"] or ""),
    }


def _longest_run(hit: NDArray[np.bool_]) -> tuple[int, int]:
    """(start, length) of the first longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hit, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best] - starts[best])


def _in_words(n: int, split: str, found: Mapping[str, Any]) -> str:
    judged = found["rows"] - found["too_short"]
    said = f"{found['overlapping']:,} of {judged:,} {split} rows ({found['share']:.2%}) share {n} words in a row with train"
    short = f" ({found['too_short']:,} have fewer)" if found["too_short"] else ""
    worst = f", e.g. {clip(found['examples'][0]['shared'], 60)!r}; {REPORT}" if found["examples"] else ""
    return said + short + worst


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / REPORT).read_text(encoding="utf-8"))
