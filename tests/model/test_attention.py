import math

import pytest
import torch

from manyheads.decoding.cache import Cache
from manyheads.model.attention import Attention, Context, attention_mask

CAUSAL = Context(mask=None, is_causal=True, rotation=None, cache=None)


def by_hand() -> tuple[Attention, torch.Tensor, torch.Tensor]:
    """Two positions, two heads of width 4, so scores are divided by sqrt(4) = 2.

    x0 = e0 + e7, x1 = e1 + e6; queries and values are the inputs themselves.
    Keys: row 1 of the matrix is 2 ln 3 at column 1, row 6 is -2 ln 4 at column 0, all else 0.
    Position 1, head 0 (features 0-3): q = e1. k0 . q = 0, k1 . q = 2 ln 3. Halved: 0 and ln 3, weights 1/4 and 3/4.
      Mixed: 1/4 e0 + 3/4 e1.
    Position 1, head 1 (features 4-7): q = e6. k0 . q = -2 ln 4, k1 . q = 0. Halved: -ln 4 and 0, weights 1/5 and 4/5.
      Mixed: 1/5 e7 + 4/5 e6.
    Position 0 sees itself alone: e0 + e7.
    The output matrix is the identity plus 10 at row 0, column 6: feature 0 gains 10 * 4/5 = 8 at position 1.
    """
    attention = Attention(dim=8, num_heads=2, num_kv_heads=2, bias=False, dropout=0.0)
    key, output = torch.zeros(8, 8), torch.eye(8)
    key[1, 1], key[6, 0], output[0, 6] = 2 * math.log(3), -2 * math.log(4), 10.0
    weights = {"query": torch.eye(8), "key": key, "value": torch.eye(8), "output": output}
    attention.load_state_dict({f"{name}.weight": weight for name, weight in weights.items()})
    x = torch.zeros(1, 2, 8)
    x[0, 0, [0, 7]] = 1
    x[0, 1, [1, 6]] = 1
    expected = torch.tensor([[[1, 0, 0, 0, 0, 0, 0, 1], [8.25, 0.75, 0, 0, 0, 0, 0.8, 0.2]]])
    return attention, x, expected


def test_two_positions_two_heads_by_hand() -> None:
    """Guards the scale, the split into heads, the causal mask and the output matrix: without the scale the weights
    would be 1/10 and 9/10, without the mask position 0 would be a half and a half."""
    attention, x, expected = by_hand()
    torch.testing.assert_close(attention(x, CAUSAL, 0), expected, rtol=1e-6, atol=1e-6)


def test_a_mask_of_numbers_says_the_same_as_the_causal_flag() -> None:
    attention, x, expected = by_hand()
    segments = torch.ones(1, 2, dtype=torch.long)
    mask, is_causal = attention_mask({"input_ids": segments, "segments": segments}, None, torch.float32)
    assert not is_causal
    torch.testing.assert_close(attention(x, CAUSAL._replace(mask=mask, is_causal=False), 0), expected)


def test_groups_share_keys_and_values_of_neighbouring_heads() -> None:
    """Heads 0, 1 read group 0 and heads 2, 3 group 1, not 0, 2 and 1, 3: guards the order that checkpoints assume."""
    torch.manual_seed(0)
    grouped = Attention(dim=16, num_heads=4, num_kv_heads=2, bias=True, dropout=0.0)
    full = Attention(dim=16, num_heads=4, num_kv_heads=4, bias=True, dropout=0.0)
    state = grouped.state_dict()

    def spread(by: str) -> dict[str, torch.Tensor]:
        def copies(t: torch.Tensor) -> torch.Tensor:
            heads = t.unflatten(0, (2, 4))
            repeated = heads.repeat_interleave(2, 0) if by == "neighbours" else torch.cat((heads, heads))
            return repeated.flatten(0, 1)

        return {n: copies(t) if n.startswith(("key", "value")) else t for n, t in state.items()}

    x = torch.randn(2, 5, 16)
    full.load_state_dict(spread("neighbours"))
    torch.testing.assert_close(grouped(x, CAUSAL, 0), full(x, CAUSAL, 0))
    full.load_state_dict(spread("others"))
    assert not torch.allclose(grouped(x, CAUSAL, 0), full(x, CAUSAL, 0), atol=1e-3)


def test_attention_dropout_is_off_in_eval() -> None:
    attention = Attention(dim=8, num_heads=2, num_kv_heads=2, bias=False, dropout=0.5)
    x = torch.randn(1, 6, 8)
    assert not torch.equal(attention(x, CAUSAL, 0), attention(x, CAUSAL, 0))
    attention.eval()
    assert torch.equal(attention(x, CAUSAL, 0), attention(x, CAUSAL, 0))


def test_one_position_without_segments_needs_no_mask() -> None:
    """SDPA aligns its causal mask to the first key, so a step of one token with the flag set would see one key only."""
    ids = torch.zeros(1, 1, dtype=torch.long)
    cache = Cache(num_layers=1, batch_size=1, max_len=4)
    cache.advance(3)
    assert attention_mask({"input_ids": ids}, cache, torch.float32) == (None, False)
    assert attention_mask({"input_ids": ids}, None, torch.float32) == (None, False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_is_minus_infinity_across_segments_and_ahead(dtype: torch.dtype) -> None:
    segments = torch.tensor([[1, 1, 2, 0]])
    mask, _ = attention_mask({"input_ids": segments, "segments": segments}, None, dtype)
    assert mask is not None
    assert mask.dtype == dtype
    seen = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert (mask[0, 0] == 0).int().tolist() == seen
    assert (mask[0, 0] == float("-inf")).int().tolist() == [[1 - value for value in row] for row in seen]
