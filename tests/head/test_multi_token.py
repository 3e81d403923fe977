"""Guards: a label of the next document, of the next row or of padding that a position learns."""

import pytest
import torch

from manyheads.batch import IGNORE
from manyheads.head.multi_token import Ahead, labels_ahead

LABELS = torch.tensor([[1, 2, 3, 4, 5, IGNORE], [6, 7, 8, 9, 10, 11]])
SEGMENTS = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 1]])
_ = IGNORE


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (1, [[2, 3, _, 5, _, _], [7, 8, 9, 10, 11, _]]),
        (2, [[3, _, _, _, _, _], [8, 9, 10, 11, _, _]]),
        (5, [[_] * 6, [11, _, _, _, _, _]]),
        (6, [[_] * 6] * 2),
        (9, [[_] * 6] * 2),
    ],
)
def test_labels_end_with_the_segment(distance: int, expected: list[list[int]]) -> None:
    assert labels_ahead(LABELS, SEGMENTS, distance).tolist() == expected


def test_without_segments_a_row_is_one() -> None:
    assert labels_ahead(LABELS, None, 1).tolist() == [[2, 3, 4, 5, _, _], [7, 8, 9, 10, 11, _]]
    assert LABELS[0, 0].item() == 1  # the labels themselves stay


def test_starts_as_the_identity_and_can_leave_it() -> None:
    """silu(0) = 0 with slope 1/2: a start at which nothing moves would never learn."""
    layer, hidden = Ahead(3), torch.randn(2, 3)
    assert torch.equal(layer(hidden), hidden)
    layer(hidden).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, 0.5 * hidden.sum(0).expand(3, 3))
