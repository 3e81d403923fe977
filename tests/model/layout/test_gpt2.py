"""Guards: matrices on their side, and query, key and value in the wrong order. Logits: test_hugging_face.py."""

import pytest
import torch

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.gpt2 import GPT2

LAYOUT = GPT2()
SETTINGS = Decoder(
    vocab_size=11, dim=4, num_layers=1, num_heads=2, ff_dim=6, norm="layernorm", positions="learned", max_positions=5,
    bias=True, activation="gelu_tanh", dropout=0.25,
).settings  # fmt: skip
BLOCK = "network.blocks.0."


def head(*, bias: bool = False) -> NextToken:
    return NextToken(dim=4, vocab_size=11, bias=bias)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("norm", "rmsnorm"),
        ("norm_position", "post"),
        ("positions", "rotary"),
        ("activation", "swiglu"),
        ("bias", False),
        ("num_kv_heads", 1),
        ("scale_embeddings", True),
    ],
)
def test_one_part_of_another_kind_is_no_gpt2(setting: str, value: object) -> None:
    assert LAYOUT.fits(SETTINGS, head())
    assert not LAYOUT.fits({**SETTINGS, setting: value}, head())


def test_a_bias_per_token_is_no_gpt2() -> None:
    assert not LAYOUT.fits(SETTINGS, head(bias=True))


def test_each_number_stands_under_its_name() -> None:
    assert LAYOUT.config(SETTINGS) == {
        "n_embd": 4, "n_inner": 6, "n_layer": 1, "n_head": 2, "n_positions": 5, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "embd_pdrop": 0.25, "attn_pdrop": 0.25, "resid_pdrop": 0.25,
    }  # fmt: skip


def test_what_a_published_config_leaves_out_is_what_transformers_takes() -> None:
    settings = LAYOUT.settings({"n_embd": 8, "n_inner": None, "n_layer": 2, "n_head": 2, "n_positions": 16})
    wanted = {"ff_dim": 32, "activation": "gelu_tanh", "norm_eps": 1e-5, "dropout": 0.1}
    assert {key: settings[key] for key in wanted} == wanted


def tensors() -> dict[str, torch.Tensor]:
    network = Decoder(**SETTINGS)
    return {f"network.{name}": torch.randn_like(value) for name, value in network.state_dict().items()}


def test_query_key_and_value_are_one_matrix_in_this_order_lying_on_its_side() -> None:
    ours = tensors()
    fused = LAYOUT.rename_out(ours, SETTINGS)["transformer.h.0.attn.c_attn.weight"]
    assert fused.shape == (4, 12)
    for i, name in enumerate(("query", "key", "value")):
        assert torch.equal(fused[:, 4 * i : 4 * i + 4], ours[f"{BLOCK}attention.{name}.weight"].T)


def test_the_feed_forward_lies_on_its_side() -> None:
    ours = tensors()
    theirs = LAYOUT.rename_out(ours, SETTINGS)
    assert torch.equal(theirs["transformer.h.0.mlp.c_fc.weight"], ours[f"{BLOCK}feed_forward.up.weight"].T)
    assert theirs["transformer.h.0.mlp.c_fc.weight"].shape == (4, 6)


def test_there_and_back() -> None:
    ours = tensors()
    back = LAYOUT.rename_in(LAYOUT.rename_out(ours, SETTINGS), SETTINGS)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
