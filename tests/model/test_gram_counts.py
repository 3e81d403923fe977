"""Packed n-grams: order, sums, and numbers that need several integers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from manyheads.model.gram_counts import Packing, added_up, is_new


@pytest.mark.parametrize(
    ("order", "vocab_size", "words"),
    [(1, 1, 1), (5, 2048, 1), (6, 2048, 2), (11, 259, 2), (4, 2**31 - 1, 2), (3, 2**40, 3)],
)
def test_what_is_packed_comes_back_and_sorts_as_it_is(order: int, vocab_size: int, words: int) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, vocab_size + 1, (200, order))
    rows[:3] = [[vocab_size] * order, [0] * order, [1] * order]
    packing = Packing(order, vocab_size)
    keys = packing.pack(list(rows.T))
    assert keys.shape == (200, words)
    assert (keys >= 0).all()
    assert np.array_equal(np.stack(packing.unpack(keys), 1), rows)
    assert [tuple(rows[i]) for i in np.lexsort(keys.T[::-1])] == sorted(map(tuple, rows))


@pytest.mark.parametrize("vocab_size", [3, 2**40])
def test_sums_are_those_of_a_counter(vocab_size: int) -> None:
    random = np.random.default_rng(1)
    rows = random.integers(0, 4, (500, 3))
    counts = random.integers(1, 9, 500)
    expected: Counter[tuple[int, ...]] = Counter()
    for row, count in zip(rows, counts, strict=True):
        expected[tuple(row)] += count
    packing = Packing(3, vocab_size)
    keys, sums = added_up(packing.pack(list(rows.T)), counts)
    assert list(zip(map(tuple, np.stack(packing.unpack(keys), 1)), sums, strict=True)) == sorted(expected.items())
    assert is_new(keys).all()


def test_nothing_adds_up_to_nothing() -> None:
    packing = Packing(3, 10)
    keys, sums = added_up(packing.pack([np.zeros(0, np.int64)] * 3), np.zeros(0, np.int64))
    assert keys.shape == (0, 1)
    assert len(sums) == 0
