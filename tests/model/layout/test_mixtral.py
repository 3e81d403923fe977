"""Guards: numbers under the wrong name of a config. That logits agree is held by test_hugging_face.py."""

import pytest

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.mixtral import Mixtral

MIXTRAL = Mixtral()
SETTINGS = Decoder(
    vocab_size=11, dim=12, num_layers=1, num_heads=3, ff_dim=20, num_experts=5, experts_per_token=3, load_balance=0.5
).settings


def test_each_number_stands_under_its_name() -> None:
    config = MIXTRAL.config(SETTINGS)
    assert (config["num_local_experts"], config["num_experts_per_tok"], config["router_aux_loss_coef"]) == (5, 3, 0.5)
    assert (config["intermediate_size"], config["sliding_window"]) == (20, None)
    back = MIXTRAL.settings(config)
    assert {key: back[key] for key in back if back[key] != SETTINGS[key]} == {}


@pytest.mark.parametrize(
    ("setting", "value"), [("num_experts", None), ("experts_per_token", 1), ("activation", "gelu"), ("bias", True)]
)
def test_another_shape_is_no_mixtral(setting: str, value: object) -> None:
    head = NextToken(dim=12, vocab_size=11)
    assert MIXTRAL.fits(SETTINGS, head)
    assert not MIXTRAL.fits({**SETTINGS, setting: value}, head)
