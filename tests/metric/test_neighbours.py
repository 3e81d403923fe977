"""Guards a word that is its own neighbour."""

from __future__ import annotations

import pytest
import torch

from manyheads.metric import neighbours
from manyheads.metric.neighbours import nearest, unit


def test_neighbours_by_hand() -> None:
    """Directions of 0, 90, 45, 0 and 180 degrees; the third is no candidate."""
    vectors = torch.tensor([[1.0, 0], [0, 2], [1, 1], [3, 0], [-1, 0]])
    among = torch.tensor([0, 1, 3, 4])
    ids, cosines = nearest(vectors, vectors[[0, 1]], among=among, without=torch.tensor([[0], [1]]), count=2)
    assert ids[0].tolist() == [3, 1]
    assert cosines[0].tolist() == [1.0, 0.0]
    assert sorted(ids[1].tolist())[0] in (0, 3, 4)
    ids, cosines = nearest(vectors, vectors[[0]], among=among, without=torch.tensor([[2]]), count=9)
    assert ids.shape == (1, 4)
    assert ids[0, -1] == 4
    assert cosines[0, -1] == -1


def test_rows_in_parts_are_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vectors, without = torch.randn(50, 8), torch.randint(50, (20, 3))
    settings = {"among": torch.arange(2, 50), "without": without, "count": 5}
    whole = nearest(vectors, vectors[:20], **settings)
    monkeypatch.setattr(neighbours, "AT_ONCE", 7)
    parts = nearest(vectors, vectors[:20], **settings)
    assert torch.equal(whole[0], parts[0])
    assert not (whole[0][:, :, None] == without[:, None]).any()


def test_nobody_asks_and_zeros_stay_zeros() -> None:
    ids, cosines = nearest(
        torch.randn(4, 2),
        torch.empty(0, 2),
        among=torch.arange(4),
        without=torch.empty(0, 1, dtype=torch.int64),
        count=3,
    )
    assert ids.shape == cosines.shape == (0, 3)
    assert unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6000000238418579, 0.800000011920929], [0, 0]]
