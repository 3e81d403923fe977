"""Guards places that are counted on over the border of a segment."""

from __future__ import annotations

import torch

from manyheads.batch import Batch
from manyheads.model.places import places


def test_places_by_hand() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    segments = torch.tensor([[1, 1, 2, 2, 0], [0, 0, 1, 1, 1]])
    assert places(Batch(input_ids=ids)).tolist() == [0, 1, 2, 3, 4]
    assert places(Batch(input_ids=ids), read=3).tolist() == [3, 4, 5, 6, 7]
    assert places(Batch(input_ids=ids, segments=segments)).tolist() == [[0, 1, 0, 1, 0], [0, 1, 0, 1, 2]]
    given = torch.tensor([[7, 8, 0, 1, 0], [0, 0, 0, 1, 2]])
    assert places(Batch(input_ids=ids, segments=segments, positions=given)) is given
