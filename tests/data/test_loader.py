"""The loader's place, and the generator that it does not touch. Lightning's fit loop is in tests/task/test_base.py."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from manyheads.data.batches import PackedRows, as_is
from manyheads.data.loader import MADE_OF, ResumableLoader
from manyheads.data.packing import cut, single
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.store import COUNTS, TokenStore


@pytest.fixture
def loader(tmp_path: Path) -> ResumableLoader:
    """Over 18 rows that hold nothing but their own number."""
    np.arange(19).astype(np.uint16).tofile(tmp_path / "tokens.bin")
    for name in ("document_starts", "piece_ends", "byte_ends"):
        np.arange(19).tofile(tmp_path / f"{name}.bin")
    (tmp_path / COUNTS).write_text('{"rows": 18, "empty": 0, "dtype": "uint16"}')
    store = TokenStore(tmp_path)
    segments = cut(store.document_starts, 2)
    rows = PackedRows(store, segments, single(segments.length), end_id=0, scoring=False)
    return ResumableLoader(rows, ResumableBatchSampler(18, 4, seed=3, shuffle=True))


def test_the_global_generator_is_left_alone(loader: ResumableLoader):
    """Guards: dropout that differs after a resume, since each start of a loader drew a number."""
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_those_of_torchs_loader(loader: ResumableLoader):
    """Without workers they are made without it; the order and every tensor must be the same."""
    theirs = list(DataLoader(loader.rows, batch_sampler=loader.order, collate_fn=as_is))
    ours = list(loader)
    assert len(ours) == len(theirs) == 5
    for own, other in zip(ours, theirs, strict=True):
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)


def test_state_is_what_was_handed_out(loader: ResumableLoader):
    """Guards: a place that counts from the wrong start after a load or in a later epoch."""
    assert loader.state_dict() == {"epoch": 0, "rows": 0, "batches": 0}
    batches = iter(loader)
    next(batches)
    next(batches)
    state = copy.deepcopy(loader.state_dict())
    assert state == {"epoch": 0, "rows": 8, "batches": 2}
    other = ResumableLoader(loader.dataset, copy.deepcopy(loader.order))
    other.order.set_epoch(7)
    other.load_state_dict(state)
    assert other.state_dict() == state
    rest = [batch["input_ids"].tolist() for batch in other]
    assert rest == [batch["input_ids"].tolist() for batch in batches]
    assert other.state_dict() == {"epoch": 0, "rows": 18, "batches": 5}
    other.order.set_epoch(1)
    assert other.state_dict() == {"epoch": 1, "rows": 0, "batches": 0}


def test_a_place_among_other_rows_is_the_epochs_beginning(loader: ResumableLoader):
    """Guards: rows that are left out since as many were taken of others. The batches stay: Lightning counts on."""
    state = {"epoch": 2, "rows": 8, "batches": 2, MADE_OF: "a"}
    for made_of, known, rows in (("a", True, 8), ("b", True, 0), ("b", False, 8), (None, True, 8)):
        other = ResumableLoader(loader.rows, copy.deepcopy(loader.order), made_of=made_of)
        other.load_state_dict(state if known else {name: state[name] for name in ("epoch", "rows", "batches")})
        expected = {"epoch": 2, "rows": rows, "batches": 2, **({MADE_OF: made_of} if made_of else {})}
        assert other.state_dict() == expected
        left = list(other)
        assert len(other) == 2 + len(left) == (7 if rows == 0 else 5)
