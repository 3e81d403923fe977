"""Batches: what a network is given for the rows that it is asked for."""

import time
from pathlib import Path

import numpy as np
import torch

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.data.batches import PackedRows
from manyheads.data.packing import Rows, Segments, cut, pack, single
from manyheads.data.store import COUNTS, TokenStore

E = 9  # end of text


def store_of(folder: Path, documents: list[list[int]], sizes: list[int]) -> TokenStore:
    tokens = [E, *(token for document in documents for token in [*document, E])]
    starts = np.cumsum([0, *(len(document) + 1 for document in documents)])
    np.array(tokens, np.uint16).tofile(folder / "tokens.bin")
    for name, values in (("document_starts", starts), ("piece_ends", starts), ("byte_ends", np.cumsum([0, *sizes]))):
        np.asarray(values, np.int64).tofile(folder / f"{name}.bin")
    (folder / COUNTS).write_text('{"rows": 0, "empty": 0, "dtype": "uint16"}')
    return TokenStore(folder)


def rows_of(store: TokenStore, seq_len: int, *, packed: bool, scoring: bool, stride: int | None = None) -> PackedRows:
    segments = cut(store.document_starts, seq_len, stride)
    rows = pack(segments.length, seq_len) if packed else single(segments.length)
    return PackedRows(store, segments, rows, end_id=E, scoring=scoring)


def plain(batch: Batch) -> dict[str, list]:
    assert all(value.dtype == torch.int64 for value in batch.values())
    return {key: value.tolist() for key, value in batch.items()}


def test_whole_rows_have_no_segments(tmp_path: Path):
    """Guards: a mask that turns attention's fast path off, and labels shifted the wrong way."""
    store = store_of(tmp_path, [[1, 2, 3], [4, 5, 6]], [3, 30])
    rows = rows_of(store, 4, packed=True, scoring=False)
    assert plain(rows.__getitems__([1, 0])) == {
        "input_ids": [[E, 4, 5, 6], [E, 1, 2, 3]],
        "labels": [[4, 5, 6, E], [1, 2, 3, E]],
    }
    assert plain(rows_of(store, 4, packed=False, scoring=True)[1]) == {
        "input_ids": [[E, 4, 5, 6]],
        "labels": [[4, 5, 6, E]],
        "examples": [[1, 1, 1, 1]],
        "num_bytes": [30],
    }


def test_a_batch_of_no_row_has_nothing_to_score(tmp_path: Path):
    """A rank without a row computes along, since others wait for it, and counts nothing."""
    store = store_of(tmp_path, [[1, 2, 3], [4, 5, 6]], [3, 30])
    batch = rows_of(store, 4, packed=False, scoring=True).__getitems__([])
    assert batch["input_ids"].shape == (1, 4)
    assert (batch["labels"].tolist(), batch["num_bytes"].tolist()) == ([[IGNORE] * 4], [0])


def test_a_packed_batch_by_hand(tmp_path: Path):
    """Guards: a segment's number, position, label or padding in the wrong place; a batch wider than its longest row."""
    store = store_of(tmp_path, [[1], [2, 3], [4, 5, 6, 7, 8]], [10, 20, 60])
    segments = cut(store.document_starts, 6)
    rows = Rows(np.array([0, 1, 2]), np.array([0, 2, 3]))
    batch = PackedRows(store, segments, rows, end_id=E, scoring=True).__getitems__([0, 1])
    assert plain(batch) == {
        "input_ids": [[E, 1, E, 2, 3, E], [E, 4, 5, 6, 7, 8]],
        "labels": [[1, E, 2, 3, E, IGNORE], [4, 5, 6, 7, 8, E]],
        "positions": [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]],
        "segments": [[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1]],
        "examples": [[0, 0, 1, 1, 1, NO_EXAMPLE], [2, 2, 2, 2, 2, 2]],
        "num_bytes": [30, 60],
    }
    alone = PackedRows(store, segments, rows, end_id=E, scoring=False)[0]
    assert plain(alone) == {
        "input_ids": [[E, 1, E, 2, 3]],
        "labels": [[1, E, 2, 3, E]],
        "positions": [[0, 1, 0, 1, 2]],
        "segments": [[1, 1, 2, 2, 2]],
    }


def test_no_column_of_a_batch_is_another_ones_memory(tmp_path: Path):
    """Guards: a batch without padding made of views, in which writing to the labels changes the inputs."""
    store = store_of(tmp_path, [[1], [2, 3], [4, 5], [6]], [10, 20, 20, 10])
    rows = rows_of(store, 5, packed=True, scoring=True)
    batch = rows.__getitems__([0, 1])
    assert batch["segments"].min() == 1
    before = plain(batch)
    for key, value in batch.items():
        value.fill_(-7)
        assert plain(batch) == {**before, key: value.tolist()}
        value.copy_(torch.tensor(before[key]))
    assert plain(rows.__getitems__([0, 1])) == before


def test_context_of_a_strided_window_is_not_scored(tmp_path: Path):
    """Guards: labels scored twice, in ragged batches and in whole ones."""
    store = store_of(tmp_path, [[1, 2, 3, 4, 5, 6]], [70])
    rows = rows_of(store, 4, packed=False, scoring=True, stride=2)
    ragged = rows.__getitems__([0, 1, 2])
    assert plain(ragged)["labels"] == [[1, 2, 3, 4], [IGNORE, IGNORE, 5, 6], [IGNORE, IGNORE, E, IGNORE]]
    assert plain(ragged)["num_bytes"] == [40, 20, 10]
    whole = rows.__getitems__([0, 1])
    assert "segments" not in whole
    assert plain(whole)["labels"] == plain(ragged)["labels"][:2]


def test_one_batch_of_all_rows_is_the_rows_one_by_one(tmp_path: Path):
    """Guards: a mix-up between rows in the one-go gathering, for ragged rows in any order; padding cut off."""
    random = np.random.default_rng(0)
    documents = [random.integers(0, 9, size=n).tolist() for n in random.integers(0, 30, size=40)]
    store = store_of(tmp_path, documents, [2 * len(document) for document in documents])
    for packed in (True, False):
        rows = rows_of(store, 8, packed=packed, scoring=True, stride=None if packed else 3)
        order = random.permutation(len(rows)).tolist()
        batch = rows.__getitems__(order)
        for place, row in enumerate(order):
            alone = rows[row]
            width = alone["input_ids"].shape[1]
            for key in ("input_ids", "labels", "examples"):
                assert torch.equal(batch[key][place, :width], alone[key][0]), key
            assert (batch["segments"][place, width:] == 0).all()
            assert (batch["labels"][place, width:] == IGNORE).all()
            assert batch["num_bytes"][place] == alone["num_bytes"][0]


def test_a_batch_takes_little_time(tmp_path: Path):
    """Guards: a batch built row by row. About 60 microseconds here; the bound leaves room for a busy machine."""
    length = 200_000
    store = store_of(tmp_path, [[n % 9 for n in range(70)] for _ in range(length // 70)], [1] * (length // 70))
    rows = rows_of(store, 64, packed=True, scoring=False)
    chosen = np.random.default_rng(0).integers(0, len(rows), size=(50, 12)).tolist()
    best = float("inf")
    for indices in chosen:
        began = time.perf_counter()
        rows.__getitems__(indices)
        best = min(best, time.perf_counter() - began)
    assert best < 300e-6


def test_segments_are_plain_columns(tmp_path: Path):
    """Guards: rows that are made of other segments than they were given."""
    store = store_of(tmp_path, [[1, 2, 3]], [3])
    segments = Segments(*(np.array([value]) for value in (1, 1, 3, 0)))
    batch = PackedRows(store, segments, single(segments.length), end_id=E, scoring=True)[0]
    assert plain(batch)["input_ids"] == [[1, 2, 3]]
    assert plain(batch)["labels"] == [[IGNORE, 3, E]]
