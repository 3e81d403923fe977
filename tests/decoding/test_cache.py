import pytest
import torch

from manyheads.batch import Batch
from manyheads.decoding.cache import Cache, RereadingCache, SourceCache, StateCache, TokenCache, causal_mask


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


@pytest.mark.parametrize("rereading", [False, True])
def test_rows_that_stay_keep_what_is_theirs(rereading: bool) -> None:
    """Keys, values, segments and, of a network that reads again, the tokens: those of the first and third row."""
    cache = Cache(num_layers=2, batch_size=3, max_len=3)
    if rereading:
        cache = RereadingCache(num_layers=2, batch_size=3, max_len=3, until=2)
    ids = torch.tensor([[1, 2], [3, 4], [5, 6]])
    segments = torch.tensor([[0, 1], [1, 1], [1, 1]])
    cache.whole(Batch(input_ids=ids, segments=segments))
    cache.segments(segments, 2)
    states = ids.float()[:, None, :, None]
    cache.update(0, states, -states)
    cache.advance(2)
    cache.keep(torch.tensor([0, 2]))
    assert cache.batch_size == 2
    key, value = cache.update(0, torch.full((2, 1, 1, 1), 7.0), torch.full((2, 1, 1, 1), -7.0))
    assert key[:, 0, :, 0].tolist() == [[1, 2, 7], [5, 6, 7]]
    assert torch.equal(value, -key)
    kept = cache.segments(None, 1)
    assert kept is not None
    assert kept.tolist() == [[0, 1, 1], [1, 1, 1]]
    whole = cache.whole(Batch(input_ids=torch.tensor([[8], [9]])))
    assert (whole is not None) == rereading
    if whole is not None:
        assert whole["input_ids"].tolist() == [[1, 2, 8], [5, 6, 9]]


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


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_is_counted_from_the_newest_position_back(window: int) -> None:
    """Three new positions after two cached ones, the first of them padding in the second row."""
    segments = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    mask = causal_mask(segments, 3, 5, torch.device("cpu"), window)
    assert mask is not None
    for row in range(2):
        seen = [[i - window < j <= i and bool(segments[row, j]) for j in range(5)] for i in (2, 3, 4)]
        assert mask[row, 0].tolist() == seen


def test_a_window_that_holds_everything_needs_no_mask_for_one_position() -> None:
    assert causal_mask(None, 1, 4, torch.device("cpu"), 4) is None
    assert causal_mask(None, 1, 4, torch.device("cpu"), 3).tolist() == [[False, True, True, True]]  # type: ignore[union-attr]


def test_a_row_that_is_read_again_has_all_its_tokens_places_and_segments() -> None:
    """Padding of the prompt, then a step without positions or segments, then one of a row that has ended."""
    cache = RereadingCache(num_layers=1, batch_size=2, max_len=4, until=2)
    first = Batch(
        input_ids=torch.tensor([[7, 8], [9, 9]]),
        positions=torch.tensor([[0, 1], [0, 0]]),
        segments=torch.tensor([[1, 1], [0, 1]]),
    )
    assert cache.whole(first) is None
    cache.advance(2)
    whole = cache.whole(Batch(input_ids=torch.tensor([[5], [6]])))
    assert whole is not None
    assert whole["input_ids"].tolist() == [[7, 8, 5], [9, 9, 6]]
    assert whole["positions"].tolist() == [[0, 1, 2], [0, 0, 2]]
    assert whole["segments"].tolist() == [[1, 1, 1], [0, 1, 1]]
    cache.advance(1)
    ended = {"positions": torch.tensor([[3], [0]]), "segments": torch.tensor([[1], [0]])}
    whole = cache.whole(Batch(input_ids=torch.tensor([[4], [0]]), **ended))  # type: ignore[typeddict-item]
    assert whole is not None
    assert whole["segments"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 0]]
    assert Cache(num_layers=1, batch_size=2, max_len=4).whole(first) is None


def test_sources_stay_with_their_rows_also_twice() -> None:
    """Keys, values and masks of the sources; their room counts."""
    cache = SourceCache(num_layers=2, batch_size=3, max_len=4)
    assert cache.num_bytes == 0
    states = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 5, 4)
    for layer in range(2):
        cache.keep_source(layer, states, -states)
    cache.source_mask = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 1, 5)
    assert cache.num_bytes == 2 * 2 * 3 * 2 * 5 * 4 * 4
    cache.keep(torch.tensor([2, 0, 2]))
    for layer in range(2):
        key, value = cache.of_source(layer)
        assert key[:, 1, 4, 3].tolist() == [2, 0, 2]
        assert value[:, 0, 0, 0].tolist() == [-2, 0, -2]
    assert cache.source_mask[:, 0, 0, 4].tolist() == [2, 0, 2]
    assert cache.batch_size == 3


def test_a_source_that_was_never_brought_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="brings source_ids"):
        SourceCache(num_layers=1, batch_size=1, max_len=1).of_source(0)


def test_states_are_those_of_their_rows() -> None:
    cache = StateCache(batch_size=3, max_len=3)
    assert cache.states is None
    hidden = torch.tensor([1.0, 2, 3]).view(1, 3, 1).expand(2, 3, 4)
    cache.put((hidden, -hidden), 2)
    assert (cache.length, cache.num_bytes) == (2, 2 * 2 * 3 * 4 * 4)
    cache.keep(torch.tensor([2, 0, 2]))
    assert cache.states is not None
    assert [state[1, :, 3].tolist() for state in cache.states] == [[3, 1, 3], [-3, -1, -3]]
    with pytest.raises(AssertionError, match="is for 3 positions, 4 were read"):
        cache.put(cache.states, 2)


def test_a_window_of_tokens_stays_with_its_rows() -> None:
    cache = TokenCache(batch_size=2, max_len=5, kept=3)
    assert cache.before(torch.tensor([[1, 2], [3, 4]])).tolist() == [[0, 0, 0, 1, 2], [0, 0, 0, 3, 4]]
    assert (cache.length, cache.num_bytes) == (2, 2 * 3 * 8)
    cache.keep(torch.tensor([1, 0, 1]))
    assert cache.before(torch.tensor([[5, 6], [7, 8], [9, 9]])).tolist() == [
        [0, 3, 4, 5, 6],
        [0, 1, 2, 7, 8],
        [0, 3, 4, 9, 9],
    ]
    with pytest.raises(AssertionError, match="is for 5 positions, 6 were read"):
        cache.before(torch.zeros(3, 2, dtype=torch.long))
