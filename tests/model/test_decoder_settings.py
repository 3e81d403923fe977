"""Guards numbers that fail deep inside torch, or compute something else than they say."""

from typing import Any

import pytest
import torch

from manyheads.errors import UserError
from manyheads.model.decoder import Decoder


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"dim": 130, "num_heads": 4},
            "model.dim=130 does not divide by model.num_heads=4: set model.dim to 128 or 132",
        ),
        ({"dim": 130, "num_heads": 4}, "or model.num_heads to 2 or 5 or 10."),
        ({"num_heads": 4, "num_kv_heads": 3}, "model.num_heads=4 does not divide by model.num_kv_heads=3"),
        ({"dim": 0}, "model.dim=0: set a whole number of at least 1."),
        ({"num_layers": 2.5}, "model.num_layers=2.5: set a whole number of at least 1."),
        ({"num_heads": None}, "model.num_heads=null: set a whole number"),
        ({"ff_dim": -3}, "model.ff_dim=-3"),
        ({"norm": "rmsnrm"}, "model.norm=rmsnrm is not one of rmsnorm, layernorm. Did you mean 'rmsnorm'?"),
        ({"activation": "silu"}, "model.activation=silu is not one of swiglu, geglu, gelu, gelu_tanh, relu."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
        ({"dropout": -0.1}, "model.dropout=-0.1"),
        ({"norm_eps": 0}, "model.norm_eps=0: set a number above 0."),
        ({"positions": "learned"}, "set model.max_positions"),
        ({"dim": 12, "num_heads": 4}, "an odd number"),
        ({"window": 0}, "model.window=0: set a whole number of at least 1."),
        ({"full_every": 2}, "model.full_every=2 has no use without a window: set model.window"),
        ({"attention_softcap": 0.0}, "model.attention_softcap=0.0: set a number above 0."),
        ({"block": "paralel"}, "model.block=paralel is not one of sequential, parallel, parallel_one_norm."),
        ({"block": "parallel", "norm_position": "post"}, "set model.norm_position=pre, or model.block=sequential."),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        Decoder(**{"vocab_size": 20} | settings)
    assert text in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_what_follows_from_other_settings_is_filled_in() -> None:
    with torch.device("meta"):
        settings = Decoder(vocab_size=20, dim=96, num_heads=4, rotary_scaling="linear", rotary_factor=2.0).settings
    assert (settings["num_kv_heads"], settings["ff_dim"], settings["rotary_factor"]) == (4, 256, 2.0)
