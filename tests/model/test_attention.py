import math
from typing import Any

import pytest
import torch

from manyheads.decoding.cache import Cache, SourceCache
from manyheads.model.attention import (
    Attention,
    Context,
    CrossAttention,
    Source,
    attention_mask,
    mutual_mask,
    source_mask,
)

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


@pytest.mark.parametrize("segments", [None, torch.tensor([[1, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 1]])])
@pytest.mark.parametrize("window", [1, 3, 6, 9])
def test_a_window_counts_itself(segments: torch.Tensor | None, window: int) -> None:
    """Guards the two ends: position i sees i - window + 1 .. i of its segment."""
    ids = torch.zeros(2, 6, dtype=torch.long)
    batch: Any = {"input_ids": ids} if segments is None else {"input_ids": ids, "segments": segments}
    mask, _ = attention_mask(batch, None, torch.float32, window=window, explicit=True)
    assert mask is not None
    kinds = torch.ones_like(ids) if segments is None else segments
    for row in range(2):
        seen = [[int(i - window < j <= i and kinds[row, i] == kinds[row, j]) for j in range(6)] for i in range(6)]
        assert (mask.expand(2, 1, 6, 6)[row, 0] == 0).int().tolist() == seen


def test_a_window_that_holds_the_whole_row_leaves_the_mask_to_sdpa() -> None:
    ids = torch.zeros(1, 6, dtype=torch.long)
    assert attention_mask({"input_ids": ids}, None, torch.float32, window=6) == (None, True)
    assert attention_mask({"input_ids": ids}, None, torch.float32, window=5)[0] is not None


def test_one_new_token_sees_its_window_of_the_cache() -> None:
    cache = Cache(num_layers=1, batch_size=1, max_len=6)
    cache.advance(4)
    mask, is_causal = attention_mask({"input_ids": torch.zeros(1, 1, dtype=torch.long)}, cache, torch.float32, window=2)
    assert mask is not None
    assert not is_causal
    assert (mask == 0).int().tolist() == [[0, 0, 0, 1, 1]]


def test_a_sink_by_hand() -> None:
    """One key of score 0 beside a sink of ln 3: the value's weight is 1 / (1 + 3)."""
    attention = Attention(dim=4, num_heads=1, num_kv_heads=1, bias=False, dropout=0.0, sinks=True)
    attention.load_state_dict(
        {f"{name}.weight": torch.eye(4) for name in ("query", "value", "output")}
        | {"key.weight": torch.zeros(4, 4), "sinks": torch.tensor([math.log(3)])}
    )
    x = torch.ones(1, 1, 4)
    torch.testing.assert_close(attention(x, CAUSAL._replace(is_causal=False), 0), x / 4)


@pytest.mark.parametrize("softcap", [None, 1e6])
def test_scores_are_left_as_they_are_when_asked(softcap: float | None) -> None:
    """Queries that are half as long would be divided by sqrt(4) = 2; a cap that is far away changes nothing."""
    torch.manual_seed(0)
    made = [Attention(dim=8, num_heads=2, num_kv_heads=2, bias=False, dropout=0.0, scaled=scaled, softcap=softcap)
            for scaled in (True, False)]  # fmt: skip
    made[1].load_state_dict(made[0].state_dict() | {"query.weight": made[0].query.weight / 2})
    x, context = torch.randn(1, 5, 8), CAUSAL._replace(is_causal=False)
    torch.testing.assert_close(made[1](x, context, 0), made[0](x, context, 0), rtol=1e-4, atol=1e-5)


def test_a_bias_of_both_directions_stands_where_a_key_is_seen() -> None:
    bias = torch.arange(18.0).view(1, 2, 3, 3)
    assert torch.equal(mutual_mask(None, torch.float64, bias), bias.double())
    found = mutual_mask(torch.tensor([[1, 1, 0]]), torch.float32, bias)
    assert found is not None
    seen = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    assert torch.equal(found[0, :, seen], bias[0, :, seen])
    assert (found[0, :, ~seen] == float("-inf")).all()


def test_a_soft_cap_by_hand() -> None:
    """Scores 0 and s with cap c: the second weight is sigmoid(c tanh(s / c)). Here s = 4 / sqrt(4) = 2 and c = 0.5."""
    attention = Attention(dim=4, num_heads=1, num_kv_heads=1, bias=False, dropout=0.0, softcap=0.5)
    attention.load_state_dict({f"{name}.weight": torch.eye(4) for name in ("query", "key", "value", "output")})
    x = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]])
    mask = torch.tensor([[0.0, float("-inf")], [0.0, 0.0]])
    mixed = attention(x, CAUSAL._replace(mask=mask, is_causal=False), 0)
    assert mixed[0, 1, 0].item() == pytest.approx(2 / (1 + math.exp(-0.5 * math.tanh(2 / 0.5))), rel=1e-6)


def theirs(kind: str, window: int | None) -> Any:
    """One attention layer of transformers, 4 heads of width 8 in 2 groups, random weights."""
    from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention, Gemma2Config
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention, GptOssConfig

    shared: dict[str, Any] = {
        "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": 2,
        "sliding_window": window, "attn_implementation": "eager",
    }  # fmt: skip
    if kind == "gemma2":
        return Gemma2Attention(Gemma2Config(**shared, attn_logit_softcapping=0.7, query_pre_attn_scalar=8), 0)
    return GptOssAttention(GptOssConfig(**shared, num_local_experts=2, attention_bias=True), 0)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("kind", "options"), [("gemma2", {"softcap": 0.7}), ("gpt_oss", {"sinks": True})])
def test_transformers_computes_the_same_with_caps_and_sinks(
    kind: str, options: dict[str, Any], window: int | None
) -> None:
    """Outputs and gradients, those of the sinks too: SDPA is to hand them on through its mask."""
    torch.manual_seed(0)
    oracle = theirs(kind, window)
    for parameter in oracle.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    ours = Attention(dim=32, num_heads=4, num_kv_heads=2, bias=kind == "gpt_oss", dropout=0.0, **options)
    given = oracle.state_dict()
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    state = {
        n: given[n if n == "sinks" else n.replace(n.split(".")[0], names[n.split(".")[0]])] for n in ours.state_dict()
    }
    ours.load_state_dict(state)
    x = torch.randn(2, 6, 32)
    ids = torch.zeros(2, 6, dtype=torch.long)
    mask, _ = attention_mask({"input_ids": ids}, None, torch.float32, window=window, explicit=True)
    assert mask is not None
    turns = torch.ones(1, 6, 4 if kind == "gpt_oss" else 8), torch.zeros(1, 6, 4 if kind == "gpt_oss" else 8)
    wanted = oracle(x, position_embeddings=turns, attention_mask=mask[None, None])[0]
    found = ours(x, CAUSAL._replace(mask=mask, is_causal=False), 0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    pull = torch.randn_like(found)
    found.backward(pull)
    wanted.backward(pull)
    torch.testing.assert_close(ours.value.weight.grad, oracle.v_proj.weight.grad, rtol=1e-4, atol=1e-4)
    if ours.sinks is not None:
        torch.testing.assert_close(ours.sinks.grad, oracle.sinks.grad, rtol=1e-4, atol=1e-5)


def test_a_far_cap_changes_nothing_and_a_deep_sink_takes_nothing() -> None:
    """The explicit path against SDPA's, with groups and a mask of each row."""
    torch.manual_seed(0)
    plain = Attention(dim=32, num_heads=4, num_kv_heads=2, bias=True, dropout=0.0)
    x, segments = torch.randn(2, 6, 32), torch.tensor([[1, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 1]])
    mask, _ = attention_mask({"input_ids": segments, "segments": segments}, None, torch.float32)
    context = CAUSAL._replace(mask=mask, is_causal=False)
    for options in ({"softcap": 1e4}, {"sinks": True}, {"softcap": 1e4, "sinks": True}):
        other = Attention(dim=32, num_heads=4, num_kv_heads=2, bias=True, dropout=0.0, **options)  # type: ignore[arg-type]
        other.load_state_dict(
            plain.state_dict() | ({"sinks": torch.full((4,), -80.0)} if other.sinks is not None else {})
        )
        torch.testing.assert_close(other(x, context, 0), plain(x, context, 0), rtol=1e-4, atol=1e-5)


def test_dropout_of_the_explicit_path_is_off_in_eval() -> None:
    attention = Attention(dim=8, num_heads=2, num_kv_heads=2, bias=False, dropout=0.5, softcap=5.0)
    x, context = torch.randn(1, 6, 8), CAUSAL._replace(mask=torch.zeros(6, 6), is_causal=False)
    assert not torch.equal(attention(x, context, 0), attention(x, context, 0))
    attention.eval()
    assert torch.equal(attention(x, context, 0), attention(x, context, 0))


def test_attention_to_a_source_by_hand() -> None:
    """One position, one head of width 4, so scores are divided by 2; a source of two tokens and one of padding.

    x = 2 e0, queries are twice the inputs: 4 e0. Keys are the sources themselves: 0, (ln 3) / 2 e0 + e1 and 9 e0.
    Scores 0 and 2 ln 3, halved: 0 and ln 3, weights 1/4 and 3/4; the padding's score of 18 counts for nothing.
    Values move feature 1 to feature 2: 0 and e2, mixed 3/4 e2. The output matrix is four times the identity: 3 e2.
    """
    attention = CrossAttention(dim=4, num_heads=1, num_kv_heads=1, bias=False, dropout=0.0)
    value = torch.zeros(4, 4)
    value[2, 1] = 1
    weights = {"query": 2 * torch.eye(4), "key": torch.eye(4), "value": value, "output": 4 * torch.eye(4)}
    attention.load_state_dict({f"{name}.weight": weight for name, weight in weights.items()})
    states = torch.tensor([[[0.0, 0, 0, 0], [math.log(3) / 2, 1, 0, 0], [9, 0, 0, 0]]])
    source = Source(states, source_mask(torch.tensor([[1, 1, 0]]), torch.float32))
    found = attention(torch.tensor([[[2.0, 0, 0, 0]]]), CAUSAL._replace(source=source), 0)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 0, 3, 0]]]), rtol=1e-6, atol=1e-6)


def test_a_source_is_read_once_with_a_cache() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(dim=16, num_heads=4, num_kv_heads=2, bias=True, dropout=0.0)
    x, source = torch.randn(2, 3, 16), Source(torch.randn(2, 5, 16), None)
    cache = SourceCache(num_layers=1, batch_size=2, max_len=3)
    expected = attention(x, CAUSAL._replace(source=source), 0)
    first = attention(x[:, :2], CAUSAL._replace(source=source, cache=cache), 0)
    then = attention(x[:, 2:], CAUSAL._replace(source=Source(None, None), cache=cache), 0)
    torch.testing.assert_close(torch.cat((first, then), 1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_of_both_directions_and_of_sources(dtype: torch.dtype) -> None:
    """Padding sees padding alone; a source without a token is seen as it is, since a softmax needs a key."""
    mutual, source = (mask(torch.tensor([[1, 2, 1, 0]]), dtype) for mask in (mutual_mask, source_mask))
    assert mutual is not None
    assert source is not None
    assert (mutual[0, 0] == 0).int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert (source == 0).int().tolist() == [[[[1, 1, 1, 0]]]]
    assert {mutual.dtype, source.dtype} == {dtype}
    assert set(mutual.flatten().tolist()) == set(source.flatten().tolist()) == {0.0, float("-inf")}
    empty = source_mask(torch.tensor([[0, 0], [1, 0]]), dtype)
    assert (empty == 0).int().tolist() == [[[[1, 1]]], [[[1, 0]]]]
    assert mutual_mask(None, dtype) is source_mask(None, dtype) is None
