"""Guards: numbers under the wrong name of a config. That logits agree is held by test_hugging_face.py."""

import pytest
import torch

from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.llama import Llama

LLAMA = Llama()
SETTINGS = Decoder(vocab_size=11, dim=12, num_layers=1, num_heads=3, num_kv_heads=1, ff_dim=20, dropout=0.25).settings
CONFIG = LLAMA.config(SETTINGS)


def head(*, bias: bool = False) -> NextToken:
    return NextToken(dim=12, vocab_size=11, bias=bias)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("norm", "layernorm"),
        ("norm_position", "post"),
        ("positions", "learned"),
        ("activation", "gelu"),
        ("bias", True),
        ("scale_embeddings", True),
        ("num_experts", 4),
        ("block", "parallel"),
        ("qk_norm", True),
        ("window", 4),
        ("full_every", 2),
        ("attention_softcap", 50.0),
        ("sinks", True),
    ],
)
def test_one_part_of_another_kind_is_no_llama(setting: str, value: object) -> None:
    assert LLAMA.fits(SETTINGS, head())
    assert not LLAMA.fits({**SETTINGS, setting: value}, head())


def test_a_bias_per_token_and_capped_logits_are_no_llama() -> None:
    assert not LLAMA.fits(SETTINGS, head(bias=True))
    assert not LLAMA.fits(SETTINGS, NextToken(dim=12, vocab_size=11, softcap=30.0))


def test_each_number_stands_under_its_name() -> None:
    named = {
        key: CONFIG[key] for key in CONFIG if key not in ("rope_parameters", "hidden_act", "max_position_embeddings")
    }
    assert named == {
        "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 4, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "attention_bias": False,
        "mlp_bias": False, "attention_dropout": 0.25,
    }  # fmt: skip
    assert "max_position_embeddings" not in CONFIG
    assert LLAMA.config({**SETTINGS, "max_positions": 7})["max_position_embeddings"] == 7


def test_the_base_of_the_angles_is_read_from_either_place() -> None:
    """transformers 4 writes rope_theta, 5 rope_parameters."""
    old = {key: value for key, value in CONFIG.items() if key != "rope_parameters"} | {"rope_theta": 500.0}
    new = {key: value for key, value in CONFIG.items() if key != "rope_theta"}
    new["rope_parameters"] = {"rope_type": "default", "rope_theta": 500.0}
    assert LLAMA.settings(old)["rotary_base"] == LLAMA.settings(new)["rotary_base"] == 500.0


def test_heads_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="heads of another width"):
        LLAMA.settings(CONFIG | {"head_dim": 5})


def test_names_go_out_and_in_and_tables_of_angles_are_left_out() -> None:
    tensors = {"network.blocks.0.attention.query.weight": torch.ones(2), "head.weight": torch.zeros(3)}
    out = LLAMA.rename_out(tensors, SETTINGS)
    assert list(out) == ["model.layers.0.self_attn.q_proj.weight", "lm_head.weight"]
    out["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    assert list(LLAMA.rename_in(out, SETTINGS)) == list(tensors)
