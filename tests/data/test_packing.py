"""Cutting and packing: every label once, no row too long, little room left empty."""

import time

import numpy as np
import pytest

from manyheads.data.packing import cut, pack, single


def starts_of(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def test_cut_by_hand():
    """Guards: a window that begins one token early or late, or runs into the next document."""
    segments = cut(starts_of([3, 7, 4]), 4)
    assert [column.tolist() for column in segments] == [[0, 3, 7, 10], [0, 0, 0, 0], [3, 4, 3, 4], [0, 1, 1, 2]]


def test_cut_with_a_stride_by_hand():
    """Guards: context counted again, or a last window without a label of its own."""
    segments = cut(starts_of([3, 7, 4]), 4, 2)
    assert [column.tolist() for column in segments] == [
        [0, 3, 5, 7, 10],
        [0, 0, 2, 2, 0],
        [3, 4, 4, 3, 4],
        [0, 1, 1, 1, 2],
    ]


@pytest.mark.parametrize("seq_len", [1, 2, 3, 5, 8, 40])
def test_every_label_is_scored_once_with_enough_context(seq_len: int):
    """Guards: labels dropped or counted twice at borders, for every stride; windows with less context than promised."""
    sizes = [1, 2, 3, 5, 8, 9, 16, 17, 31, 1, 40, 41]
    starts = starts_of(sizes)
    for stride in [None, *range(1, seq_len + 1)]:
        segments = cut(starts, seq_len, stride)
        scored = []
        for start, skip, length, document in zip(*segments, strict=True):
            assert 0 <= skip < length <= seq_len
            assert starts[document] <= start
            assert start + length <= starts[document + 1]
            assert start == starts[document] or skip == seq_len - (stride or seq_len)
            scored += range(start + skip, start + length)
        assert scored == list(range(sum(sizes))), (seq_len, stride)


def test_cut_of_nothing():
    """Guards: a crash on a split without documents."""
    assert [len(column) for column in cut(np.array([0]), 4)] == [0, 0, 0, 0]


def best_fit_decreasing(lengths: list[int], seq_len: int) -> list[int]:
    """The textbook's loop, one segment after the other: how much each row holds."""
    rows: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, held in enumerate(rows) if held + length <= seq_len]
        if fitting:
            rows[max(fitting, key=lambda i: rows[i])] += length
        else:
            rows.append(length)
    return sorted(rows)


@pytest.mark.parametrize("seed", range(20))
def test_pack_is_best_fit_decreasing(seed: int):
    """Guards: a faster packing that packs worse; held to the textbook's loop. Each segment in one row, none twice."""
    random = np.random.default_rng(seed)
    seq_len = int(random.integers(1, 40))
    lengths = random.integers(1, seq_len + 1, size=int(random.integers(1, 150)))
    rows = pack(lengths, seq_len)
    assert sorted(rows.members.tolist()) == list(range(len(lengths)))
    held = np.add.reduceat(lengths[rows.members], rows.starts[:-1])
    assert (np.diff(rows.starts) > 0).all()
    assert sorted(held.tolist()) == best_fit_decreasing(lengths.tolist(), seq_len)


def test_pack_by_hand():
    """Guards: an order that depends on anything but the lengths."""
    rows = pack(np.array([2, 5, 3, 1, 4, 5]), 5)
    assert rows.members.tolist() == [1, 5, 4, 3, 2, 0]
    assert rows.starts.tolist() == [0, 1, 2, 4, 6]


def test_ragged_text_is_packed_tightly_and_fast():
    """Guards: more than 3 % padding on texts of ragged lengths, and packing in more than linear time."""
    sizes = np.random.default_rng(0).lognormal(5.5, 1.2, size=100_000).astype(np.int64) + 1
    segments = cut(starts_of(sizes.tolist()), 1024)
    began = time.perf_counter()
    rows = pack(segments.length, 1024)
    assert time.perf_counter() - began < 2.0
    assert 1 - sizes.sum() / (1024 * (len(rows.starts) - 1)) < 0.03


def test_single_puts_the_longest_first():
    """Guards: a scoring batch padded to the one long row in it."""
    rows = single(np.array([2, 5, 3, 5]))
    assert rows.members.tolist() == [1, 3, 2, 0]
    assert rows.starts.tolist() == [0, 1, 2, 3, 4]


def test_pack_of_nothing():
    """Guards: a crash on a split without segments."""
    rows = pack(np.zeros(0, np.int64), 8)
    assert rows.members.tolist() == []
    assert rows.starts.tolist() == [0]
