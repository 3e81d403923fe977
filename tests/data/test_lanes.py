"""Guards a label that lanes lose or double, a row that does not go on where its lane has ended, and a place that means another."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, NO_EXAMPLE
from manyheads.data.lanes import LaneRows, LaneSampler, equal_lanes, whole_documents
from manyheads.data.source import Source
from manyheads.data.store import TokenStore, tokenize
from manyheads.testing import Rows, byte_tokenizer

END = 256
TEXTS = ["abcdefghij", "k", "lmnopqr", "stu", "vwxyzäöü", "0123456789" * 3]


@pytest.fixture
def store() -> TokenStore:
    source: Source = Rows({"train": TEXTS, "validation": ["a"], "test": ["a"]})
    return tokenize(source, "train", byte_tokenizer())


def made(store: TokenStore, num_lanes: int, seq_len: int, *, whole: bool = False, shuffle: bool = True) -> LaneRows:
    sizes = np.diff(store.document_starts)
    layout: Callable[[int], Any] = (
        functools.partial(whole_documents, sizes, num_lanes)
        if whole
        else functools.partial(equal_lanes, sizes, num_lanes, 1, shuffle)
    )
    return LaneRows(store, layout, seq_len=seq_len, end_id=END, scoring=whole)


def lanes_of(batches: list[Any], num_lanes: int) -> list[list[tuple[int, int, int, int]]]:
    """What each lane reads, in order: input, label, position, and the row's number of the segment."""
    lanes: list[list[tuple[int, int, int, int]]] = [[] for _ in range(num_lanes)]
    for batch in batches:
        assert batch["num_lanes"] == num_lanes
        segments = batch.get("segments", torch.ones_like(batch["input_ids"]))
        for row, lane in enumerate(batch["lanes"].tolist()):
            columns = (batch[name][row].tolist() for name in ("input_ids", "labels", "positions"))
            lanes[lane] += [one for one in zip(*columns, segments[row].tolist(), strict=True) if one[3]]
    return lanes


def steps(rows: LaneRows) -> list[list[int]]:
    return np.arange(len(rows)).reshape(-1, rows.num_lanes).tolist()


def texts(lane: list[tuple[int, int, int, int]]) -> list[list[int]]:
    """The inputs of a lane, cut where positions begin at 0, each with its last label."""
    found: list[list[int]] = []
    for token, label, position, _ in lane:
        if position == 0:
            found.append([token, label])
        else:
            assert found[-1][-1] == token
            assert position == len(found[-1]) - 1
            found[-1].append(label)
    return found


def test_lanes_by_hand() -> None:
    lanes = equal_lanes(np.array([5, 2, 3]), 2, 1, False, 7)
    assert (lanes.documents.tolist(), lanes.ends.tolist(), lanes.starts.tolist()) == (
        [0, 1, 2],
        [0, 5, 7, 10],
        [0, 5, 10],
    )
    # the longest first, into the lane that has the least: 5 | 3, 2
    lanes = whole_documents(np.array([2, 5, 3]), 2)
    assert (lanes.documents.tolist(), lanes.ends.tolist(), lanes.starts.tolist()) == (
        [1, 2, 0],
        [0, 5, 8, 10],
        [0, 5, 10],
    )
    # more lanes than documents
    assert whole_documents(np.array([4]), 3).starts.tolist() == [0, 4, 4, 4]


@pytest.mark.parametrize("seq_len", [1, 3, 7, 100])
@pytest.mark.parametrize("num_lanes", [1, 2, 5])
def test_training_has_every_label_once_in_lanes_of_one_length(store: TokenStore, num_lanes: int, seq_len: int) -> None:
    rows = made(store, num_lanes, seq_len)
    lanes = lanes_of([rows.__getitems__(step) for step in steps(rows)], num_lanes)
    sizes = [len(lane) for lane in lanes]
    assert max(sizes) - min(sizes) <= 1
    pairs = [(token, label) for lane in lanes for token, label, _, _ in lane]
    whole = [[END, *text.encode(), END] for text in TEXTS]
    assert sorted(pairs) == sorted(itertools.chain(*(itertools.pairwise(text) for text in whole)))
    # a text is whole, but where a lane begins or ends within it
    cut = [text for lane in lanes for text in texts(lane) if text not in whole]
    assert len(cut) <= 2 * (num_lanes - 1)


def test_rows_begin_where_those_before_have_ended_and_texts_in_segments_of_their_own(store: TokenStore) -> None:
    rows = made(store, 2, 4, shuffle=False)
    first, second = (rows.__getitems__(step) for step in steps(rows)[:2])
    assert first["input_ids"][0].tolist() == [END, *b"abc"]
    assert second["input_ids"][0].tolist() == [*b"defg"]
    assert second["positions"][0].tolist() == [4, 5, 6, 7]
    assert "segments" not in made(store, 1, 4, shuffle=False).__getitems__([0])
    third = rows.__getitems__(steps(rows)[2])  # h i j END k
    assert third["input_ids"][0].tolist() == [*b"hij", END]
    assert third["labels"][0].tolist() == [*b"ij", END, *b"k"]
    assert third["positions"][0].tolist() == [8, 9, 10, 0]
    assert third["segments"][0].tolist() == [1, 1, 1, 2]
    assert "examples" not in first


@pytest.mark.parametrize("seq_len", [1, 4, 100])
@pytest.mark.parametrize("num_lanes", [1, 3, 8])
def test_scoring_has_every_text_whole_in_one_lane(store: TokenStore, num_lanes: int, seq_len: int) -> None:
    """With its number and its bytes; also with more lanes than texts."""
    rows = made(store, num_lanes, seq_len, whole=True)
    batches = [rows.__getitems__(step) for step in steps(rows)]
    found = [text for lane in lanes_of(batches, num_lanes) for text in texts(lane)]
    assert sorted(found) == sorted([END, *text.encode(), END] for text in TEXTS)
    assert sum(int(batch["num_bytes"].sum()) for batch in batches) == sum(len(text.encode()) for text in TEXTS)
    counts = torch.zeros(len(TEXTS), dtype=torch.int64)
    for batch in batches:
        kept = batch["labels"] != IGNORE
        assert ((batch["examples"] != NO_EXAMPLE) == kept).all()
        counts += torch.bincount(batch["examples"][kept], minlength=len(TEXTS))
    assert counts.tolist() == [len(text.encode()) + 1 for text in TEXTS]


def test_rows_of_lanes_that_have_ended_are_left_out_and_none_at_all_has_no_label(store: TokenStore) -> None:
    rows = made(store, 8, 100, whole=True)
    assert rows.__getitems__(list(range(8)))["lanes"].tolist() == [0, 1, 2, 3, 4, 5]
    nothing = rows.__getitems__([6, 7])
    assert nothing["lanes"].tolist() == [6]
    assert nothing["labels"].tolist() == [[IGNORE]]
    assert (nothing["examples"].tolist(), nothing["num_bytes"].tolist()) == ([[NO_EXAMPLE]], [0])


def test_texts_are_permuted_anew_in_each_epoch(store: TokenStore) -> None:
    rows = made(store, 2, 5)
    epochs = []
    for epoch in (0, 1, 0):
        batches = [rows.__getitems__([row + epoch * len(rows) for row in step]) for step in steps(rows)]
        epochs.append(list(lanes_of(batches, 2)))
    assert epochs[0] == epochs[2] != epochs[1]
    unshuffled = made(store, 2, 5, shuffle=False)
    assert torch.equal(unshuffled.__getitems__([0])["labels"], unshuffled.__getitems__([len(unshuffled)])["labels"])


def sampler(batch_size: int, world: int = 1, rank: int = 0, num_lanes: int = 4) -> LaneSampler:
    return LaneSampler(20, batch_size, seed=1, num_lanes=num_lanes, rank=rank, world=world, numbers_per_epoch=20)


@pytest.mark.parametrize(("batch_size", "world"), [(4, 1), (2, 1), (1, 1), (2, 2), (1, 4), (1, 2)])
def test_a_micro_batch_of_a_rank_has_the_same_lanes_in_every_step(batch_size: int, world: int) -> None:
    per_step = 4 // (batch_size * world)
    for rank in range(world):
        batches = [[row % 4 for row in batch] for batch in sampler(batch_size, world, rank)]
        assert batches == batches[:per_step] * 5


def test_a_place_holds_for_other_micro_batches_and_begins_anew_with_other_lanes() -> None:
    place = sampler(4).after(2)
    assert place == {"epoch": 0, "rows": 8, "batches": 2, "lanes": 4}
    split = sampler(1)
    split.load_state_dict(place)
    assert next(iter(split)) == [8]
    other = sampler(5, num_lanes=5)
    other.load_state_dict(place)
    assert next(iter(other)) == [0, 1, 2, 3, 4]
