import math
from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.model.decoder import Decoder
from manyheads.model.positions import POSITIONS, Alibi, Learned, Positions, Rotary, Sinusoidal, alibi_slopes


def make(kind: type[Positions], **settings: Any) -> Any:
    return kind(**{"dim": 8, "head_dim": 4, "max_positions": 16, "rotary_base": 100.0} | settings)


def test_rotary_turns_pairs_by_hand() -> None:
    """Position 3, K = 4, base 100: pair (0, 2) turns by 3, pair (1, 3) by 3 * 100^(-1/2) = 0.3."""
    rotation = make(Rotary).rotation(None, 3, 1, torch.device("cpu"))
    turned = rotation.rotate(torch.tensor([1.0, 2.0, 5.0, 7.0]).view(1, 1, 1, 4)).flatten()
    expected = [
        1 * math.cos(3) - 5 * math.sin(3),
        2 * math.cos(0.3) - 7 * math.sin(0.3),
        5 * math.cos(3) + 1 * math.sin(3),
        7 * math.cos(0.3) + 2 * math.sin(0.3),
    ]
    torch.testing.assert_close(turned, torch.tensor(expected))


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    rotary, query, key = make(Rotary), torch.randn(1, 1, 1, 4), torch.randn(1, 1, 1, 4)

    def score(i: int, j: int) -> torch.Tensor:
        at = [rotary.rotation(None, place, 1, torch.device("cpu")) for place in (i, j)]
        return (at[0].rotate(query) * at[1].rotate(key)).sum()

    torch.testing.assert_close(score(9, 4), score(405, 400), rtol=1e-4, atol=1e-4)
    assert abs(score(9, 4) - score(9, 5)) > 1e-2


def test_sinusoids_by_hand() -> None:
    """PE(p, 2i) = sin(p / 10000^(2i/D)), PE(p, 2i + 1) = cos of the same; D = 4, p = 5: 5 and 0.05."""
    added = make(Sinusoidal, dim=4).add(torch.zeros(1, 1, 4), None, 5)
    expected = torch.tensor([[[math.sin(5), math.cos(5), math.sin(0.05), math.cos(0.05)]]])
    torch.testing.assert_close(added, expected)
    assert make(Sinusoidal, dim=5).add(torch.zeros(1, 2, 5), None, 0).shape == (1, 2, 5)


@pytest.mark.parametrize("kind", [Sinusoidal, Learned])
def test_given_positions_pick_the_same_rows_as_a_start(kind: type[Positions]) -> None:
    positions, zeros = make(kind), torch.zeros(2, 3, 8)
    given = torch.tensor([[4, 5, 6], [4, 5, 6]])
    assert torch.equal(positions.add(zeros, given, 4), positions.add(zeros, None, 4))
    assert not torch.equal(positions.add(zeros, given, 4), positions.add(zeros, None, 0))


def test_the_table_grows_and_keeps_float32() -> None:
    """Guards a table cast to bfloat16 with the weights: positions above 256 would fall together."""
    rotary = make(Rotary).to(torch.bfloat16)
    short, long = (rotary.rotation(None, 0, n, torch.device("cpu")) for n in (10, 1000))
    assert long.cos.dtype == torch.float32
    assert torch.equal(short.cos, long.cos[:10])
    assert not torch.equal(long.cos[998], long.cos[999])
    assert rotary.state_dict() == {}


def test_alibi_slopes_by_hand() -> None:
    """8 heads: 1/2 .. 1/256. 6 heads: those of 4, then the first and third of 8 (the paper's 12 heads go the same way)."""
    assert alibi_slopes(8) == [2.0**-k for k in range(1, 9)]
    assert alibi_slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    assert alibi_slopes(1) == [2.0**-8]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 7, 12, 16])
def test_alibi_slopes_are_those_of_bloom(heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 3), heads, torch.float32)  # [H, 1, S]: slope * position
    torch.testing.assert_close(torch.tensor(alibi_slopes(heads)), theirs[:, 0, 1])


def test_alibi_falls_with_distance() -> None:
    """Two new positions after two old ones; heads 0 and 1 of two have slopes 1/16 and 1/256."""
    bias = make(Alibi).bias(2, 4, torch.device("cpu"))
    assert bias.shape == (1, 2, 2, 4)
    assert (bias[0, 0] * 16).tolist() == [[-2, -1, 0, 1], [-3, -2, -1, 0]]
    assert (bias[0, 1] * 256).tolist() == [[-2, -1, 0, 1], [-3, -2, -1, 0]]


@pytest.mark.parametrize("heads", [4, 3])
def test_mpt_of_transformers_computes_the_same(heads: int) -> None:
    from transformers import MptConfig, MptModel

    torch.manual_seed(0)
    config = MptConfig(
        vocab_size=23, d_model=24, n_layers=2, n_heads=heads, max_seq_len=32, attn_implementation="eager"
    )
    theirs = MptModel(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.4)
    ours = Decoder(
        vocab_size=23, dim=24, num_layers=2, num_heads=heads, norm="layernorm", activation="gelu", positions="alibi"
    )
    given = theirs.state_dict()
    state = {"embedding.weight": given["wte.weight"], "final_norm.weight": given["norm_f.weight"]}
    names = {
        "attention_norm": "norm_1", "feed_forward_norm": "norm_2", "attention.output": "attn.out_proj",
        "feed_forward.up": "ffn.up_proj", "feed_forward.down": "ffn.down_proj",
    }  # fmt: skip
    for i in range(2):
        state |= {f"blocks.{i}.{our}.weight": given[f"blocks.{i}.{their}.weight"] for our, their in names.items()}
        parts = given[f"blocks.{i}.attn.Wqkv.weight"].chunk(3)
        for name, part in zip(("query", "key", "value"), parts, strict=True):
            state[f"blocks.{i}.attention.{name}.weight"] = part
    ours.load_state_dict(state)
    ids = torch.arange(22).view(2, 11) % 23
    torch.testing.assert_close(ours(Batch(input_ids=ids)), theirs(ids).last_hidden_state, rtol=1e-4, atol=1e-5)


def test_there_are_five_kinds() -> None:
    assert sorted(POSITIONS) == ["alibi", "learned", "none", "rotary", "sinusoidal"]
