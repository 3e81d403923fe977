"""Guards a label that is counted at another place than its own, and a page over a part of the split that passes for the whole."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from manyheads.batch import Batch
from manyheads.metric.stretches import (
    Stretch,
    bounds,
    labels_within,
    scored_stretches,
    stretches_figure,
    stretches_of,
    write_stretches,
)


def test_stretches_double_and_leave_no_place_out() -> None:
    assert [bounds(stretch) for stretch in range(5)] == [(1, 15), (16, 31), (32, 63), (64, 127), (128, 255)]
    found = stretches_of(Batch(input_ids=torch.zeros(1, 300, dtype=torch.long)))[0].tolist()
    for place, stretch in enumerate(found, 1):
        first, last = bounds(stretch)
        assert first <= place <= last
    positions = torch.tensor([[0, 15, 14, 100_000]])
    assert stretches_of(Batch(input_ids=positions, positions=positions)).tolist() == [[0, 1, 0, 13]]


def test_labels_of_windows_by_hand() -> None:
    """Of 20 places, of 40 of which the first 30 were counted before, and of 3."""
    skip, length = np.array([0, 30, 0]), np.array([20, 40, 3])
    found = [labels_within(skip, length, stretch) for stretch in range(4)]
    assert [count.tolist() for _, count in found] == [[15, 0, 3], [5, 1, 0], [0, 9, 0], [0, 0, 0]]
    assert [int(start[1]) for start, _ in found[1:3]] == [30, 31]


def test_what_is_not_whole_has_no_stretches() -> None:
    known = {0: (10, 20), 2: (5, 0)}
    whole = scored_stretches({0: 3.0, 2: 1.0}, {0: 10, 2: 5}, known)
    assert whole == [Stretch(1, 15, 10, 20, 3.0), Stretch(32, 63, 5, 0, 1.0)]
    assert whole[0].nats_per_token == 0.3
    assert whole[0].bits_per_byte == pytest.approx(3 / math.log(2) / 20)
    assert math.isnan(whole[1].bits_per_byte)
    assert scored_stretches({0: 3.0}, {0: 10}, known) == []
    assert scored_stretches({}, {}, known) == []


def test_the_page_and_its_numbers(tmp_path: Path) -> None:
    stretches = [Stretch(1, 15, 10, 20, 3.0), Stretch(16, 31, 5, 0, 1.0)]
    write_stretches(stretches, tmp_path / "by_place.html")
    assert "1-15" in (tmp_path / "by_place.html").read_text(encoding="utf-8")
    with (tmp_path / "by_place.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["first"], row["last"], row["labels"], row["bytes"]) for row in rows] == [
        ("1", "15", "10", "20"),
        ("16", "31", "5", "0"),
    ]
    assert [float(row["nats_per_token"]) for row in rows] == [0.3, 0.2]
    [bits] = stretches_figure(stretches).data
    assert list(bits.text) == ["0.3000 nats per token, 10 labels", "0.2000 nats per token, 5 labels"]
    assert bits.y[1] is None
