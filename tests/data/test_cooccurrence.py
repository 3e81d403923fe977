"""Guards counts that depend on how a text was cut, or that reach into another text."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from manyheads.batch import NO_EXAMPLE
from manyheads.data import cooccurrence
from manyheads.data.cooccurrence import Cooccurrences, CountRows, cooccurrences, count

END, UNKNOWN = 9, 8
KNOWN = np.array([True] * 8 + [False] * 2)


def counted(tokens: list[int], folder: Path, window: int) -> dict[tuple[int, int], float]:
    folder.mkdir()
    count(folder, tokens=np.array(tokens, np.uint16), known=KNOWN, end_id=END, window=window)
    first, second, counts = (column.tolist() for column in Cooccurrences(folder).columns)
    pairs = list(zip(first, second, strict=True))
    assert pairs == sorted(set(pairs))
    assert Cooccurrences(folder).total == pytest.approx(sum(counts))
    assert sorted(file.name for file in folder.iterdir()) == ["count.bin", "counts.json", "first.bin", "second.bin"]
    return dict(zip(pairs, counts, strict=True))


def by_loops(tokens: list[int], window: int) -> dict[tuple[int, int], float]:
    """Each two words of each text, with fractions."""
    found: Counter[tuple[int, int]] = Counter()
    texts: list[list[int]] = [[]]
    for token in tokens:
        if token == END:
            texts.append([])
        elif KNOWN[token]:
            texts[-1].append(token)
    for text in texts:
        for i, one in enumerate(text):
            for j in range(i + 1, min(i + window, len(text) - 1) + 1):
                for pair in ((one, text[j]), (text[j], one)):
                    found[pair] += Fraction(1, j - i)  # type: ignore[assignment]
    return {pair: float(value) for pair, value in found.items()}


def test_counts_by_hand(tmp_path: Path) -> None:
    """1 2 1 in one text, 2 3 in another: 1-2 stand beside each other twice, 1-1 two places apart, counted from either side."""
    found = counted([END, 1, UNKNOWN, 2, 1, END, 2, 3, END], tmp_path / "a", 2)
    assert found == {(1, 2): 2.0, (2, 1): 2.0, (1, 1): 1.0, (2, 3): 1.0, (3, 2): 1.0}
    assert counted([END, 1, 2, 1, END], tmp_path / "b", 1) == {(1, 2): 2.0, (2, 1): 2.0}
    assert counted([END, 1, END, UNKNOWN, END], tmp_path / "c", 5) == {}


@pytest.mark.parametrize(("tokens_at_once", "entries_at_once"), [(1 << 18, 1 << 23), (7, 20), (1, 1), (50, 3)])
def test_a_text_in_parts_has_the_counts_of_the_whole(
    tokens_at_once: int, entries_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooccurrence, "TOKENS_AT_ONCE", tokens_at_once)
    monkeypatch.setattr(cooccurrence, "ENTRIES_AT_ONCE", entries_at_once)
    tokens = [END, *np.random.default_rng(0).integers(0, 10, 300).tolist(), END]
    for window in (1, 3, 40):
        found = counted(tokens, tmp_path / str(window), window)
        assert found == pytest.approx(by_loops(tokens, window), rel=1e-12)


def test_it_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path))
    tokens = np.array([END, 1, 2, END])
    made = cooccurrences(tokens, KNOWN, END, 2, "key")
    assert cooccurrences(None, KNOWN, END, 2, "key").folder == made.folder
    assert cooccurrences(tokens, KNOWN, END, 3, "key").folder != made.folder


def test_rows_of_counts(tmp_path: Path) -> None:
    counted([END, 1, 2, 1, END, 2, 3, END], tmp_path / "a", 2)
    table = Cooccurrences(tmp_path / "a")
    batch = CountRows(table, scale=3.0, scoring=True).__getitems__([1, 4])
    assert batch["input_ids"].tolist() == [[1, 2], [3, 2]]
    assert batch["counts"].tolist() == [[2.0, 6.0], [1.0, 3.0]]
    assert batch["examples"].tolist() == [1, 3]
    rows = CountRows(table, scoring=False)
    assert len(rows) == 5
    assert "examples" not in rows[0]
    nothing = CountRows(table, scoring=True).__getitems__([])
    assert nothing["counts"].tolist() == [[0.0, 0.0]]
    assert nothing["examples"].tolist() == [NO_EXAMPLE]
    assert nothing["input_ids"].dtype == torch.int64
