import pytest
import torch

from manyheads.decoding.cache import Cache, causal_mask


def test_keys_and_values_lie_one_after_the_other() -> None:
    cache = Cache(num_layers=2, batch_size=1, max_len=3)
    first, then = torch.full((1, 1, 2, 4), 1.0), torch.full((1, 1, 1, 4), 2.0)
    for layer in range(2):
        key, value = cache.update(layer, first, -first)
        assert key.shape == (1, 1, 2, 4)
    cache.advance(2)
    key, value = cache.update(1, then, -then)
    assert key[0, 0, :, 0].tolist() == [1, 1, 2]
    assert value[0, 0, :, 0].tolist() == [-1, -1, -2]
    assert cache.length == 2


def test_more_than_it_holds_is_our_own_mistake() -> None:
    cache = Cache(num_layers=1, batch_size=1, max_len=3)
    with pytest.raises(AssertionError, match=r"holds 3 positions, 4"):
        cache.segments(None, 4)


def test_segments_of_later_steps_are_one() -> None:
    """Padding of the prompts stays padding; steps without segments are real tokens."""
    cache = Cache(num_layers=1, batch_size=2, max_len=4)
    cache.segments(torch.tensor([[0, 1], [1, 1]]), 2)
    cache.advance(2)
    segments = cache.segments(None, 1)
    assert segments is not None
    assert segments.tolist() == [[0, 1, 1], [1, 1, 1]]


def test_segments_that_come_late_leave_earlier_positions_real() -> None:
    cache = Cache(num_layers=1, batch_size=1, max_len=4)
    assert cache.segments(None, 2) is None
    cache.advance(2)
    segments = cache.segments(torch.tensor([[1]]), 1)
    assert segments is not None
    assert segments.tolist() == [[1, 1, 1]]


def test_masks_by_hand() -> None:
    """Two new positions after one; padding sees itself, so that no softmax is over nothing."""
    device = torch.device("cpu")
    whole = causal_mask(None, 2, 3, device)
    assert whole is not None
    assert whole.int().tolist() == [[1, 1, 0], [1, 1, 1]]
    ragged = causal_mask(torch.tensor([[0, 0, 1]]), 2, 3, device)
    assert ragged is not None
    assert ragged.int().tolist() == [[[[1, 1, 0], [0, 0, 1]]]]
    assert causal_mask(None, 1, 3, device) is None
