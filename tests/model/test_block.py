from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.model.attention import Context
from manyheads.model.block import BLOCKS, CROSS_BLOCKS, Block
from manyheads.model.decoder import Decoder

NOTHING = Context(mask=None, is_causal=True, rotation=None, cache=None)


class Times(nn.Module):
    """A sublayer that is one multiplication."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return x * self.factor


class Plus(nn.Module):
    """A norm that is one addition, so that the order of the two shows."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


def block(kind: str) -> Block:
    parts = {"attention": Times(2.0), "feed_forward": Times(3.0)}
    order, _, place = kind.partition("/")
    return BLOCKS[order][place](**parts, norm=Plus, dropout=0.0)  # type: ignore[arg-type]


def test_pre_norm_by_hand() -> None:
    """1 + 2 (1 + 1) = 5, then 5 + 3 (5 + 1) = 23."""
    assert block("sequential/pre")(torch.ones(1), NOTHING, 0).item() == 23


def test_post_norm_by_hand() -> None:
    """(1 + 2) + 1 = 4, then (4 + 12) + 1 = 17."""
    assert block("sequential/post")(torch.ones(1), NOTHING, 0).item() == 17


def test_parallel_by_hand() -> None:
    """1 + 2 (1 + 1) + 3 (1 + 1) = 11, with two norms or one: the feed-forward must not read what attention has added."""
    for order, norms in (("parallel", 2), ("parallel_one_norm", 1)):
        made = block(f"{order}/pre")
        assert made(torch.ones(1), NOTHING, 0).item() == 11
        assert sum(isinstance(part, Plus) for part in made.modules()) == norms


def test_cross_blocks_by_hand() -> None:
    """Pre: 1 + 2 (1 + 1) = 5, 5 + 5 (5 + 1) = 35, 35 + 3 (35 + 1) = 143. Post: 3 + 1 = 4, 4 + 20 + 1 = 25, 25 + 75 + 1."""
    parts = {"attention": Times(2.0), "cross_attention": Times(5.0), "feed_forward": Times(3.0)}
    for place, expected in (("pre", 143), ("post", 101)):
        made = CROSS_BLOCKS[place](**parts, norm=Plus, dropout=0.0)  # type: ignore[arg-type]
        assert made(torch.ones(1), NOTHING, 0).item() == expected


@pytest.mark.parametrize("kv", [4, 2])
def test_one_norm_is_two_norms_of_the_same_weights(kv: int) -> None:
    """GPT-J and PaLM against GPT-NeoX, which transformers vouches for below."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"vocab_size": 20, "dim": 16, "num_heads": 4, "num_kv_heads": kv, "init_std": 0.3}
    two, one = (Decoder(**settings, block=block) for block in ("parallel", "parallel_one_norm"))
    state = {name: torch.randn_like(tensor) for name, tensor in one.state_dict().items()}
    one.load_state_dict(state)
    shared = {n.replace("attention_norm", "feed_forward_norm"): t for n, t in state.items() if "attention_norm" in n}
    two.load_state_dict(state | shared)
    ids = Batch(input_ids=torch.arange(10).view(2, 5))
    assert torch.equal(one(ids), two(ids))


def test_gpt_neox_of_transformers_computes_the_same() -> None:
    """Every weight is random, norms and biases too; the fused matrix holds query, key and value of one head after
    another."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=23, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=32, use_parallel_residual=True, hidden_act="gelu", attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    )  # fmt: skip
    theirs = GPTNeoXModel(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)
    ours = Decoder(
        vocab_size=23, dim=24, num_layers=2, num_heads=3, ff_dim=40, norm="layernorm", bias=True, activation="gelu",
        block="parallel",
    )  # fmt: skip
    names = {"embedding": "embed_in", "final_norm": "final_layer_norm"}
    for i in range(2):
        parts = {
            "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
            "attention.output": "attention.dense", "feed_forward.up": "mlp.dense_h_to_4h",
            "feed_forward.down": "mlp.dense_4h_to_h",
        }  # fmt: skip
        names |= {f"blocks.{i}.{our}": f"layers.{i}.{their}" for our, their in parts.items()}
    given = theirs.state_dict()
    state = {f"{our}.{leaf}": given[f"{their}.{leaf}"] for our, their in names.items() for leaf in ("weight", "bias")
             if f"{their}.{leaf}" in given}  # fmt: skip
    for i in range(2):
        for leaf in ("weight", "bias"):
            fused = given[f"layers.{i}.attention.query_key_value.{leaf}"].unflatten(0, (3, 3, 8))
            for place, name in enumerate(("query", "key", "value")):
                state[f"blocks.{i}.attention.{name}.{leaf}"] = fused[:, place].flatten(0, 1)
    ours.load_state_dict(state)
    ids = torch.arange(22).view(2, 11) % 23
    torch.testing.assert_close(ours(Batch(input_ids=ids)), theirs(ids).last_hidden_state, rtol=1e-4, atol=1e-5)


def test_only_pre_norm_has_a_norm_at_the_end() -> None:
    ends = [Decoder(vocab_size=4, dim=8, norm_position=kind).final_norm for kind in ("pre", "post")]
    assert [isinstance(end, nn.Identity) for end in ends] == [False, True]
