"""Guards: a window lost on the way. That logits agree is held by test_hugging_face.py."""

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.mistral import Mistral

SETTINGS = Decoder(vocab_size=11, dim=12, num_layers=2, num_heads=3, window=5).settings


def test_a_window_in_every_layer_is_a_mistral() -> None:
    head = NextToken(dim=12, vocab_size=11)
    assert Mistral().fits(SETTINGS, head)
    assert not Mistral().fits({**SETTINGS, "window": None}, head)
    assert not Mistral().fits({**SETTINGS, "full_every": 2}, head)
    assert not Mistral().fits({**SETTINGS, "qk_norm": True}, head)
    assert not Mistral().fits(SETTINGS, NextToken(dim=12, vocab_size=11, softcap=30.0))


def test_the_window_goes_out_and_in() -> None:
    config = Mistral().config(SETTINGS)
    assert config["sliding_window"] == 5
    assert not {"mlp_bias", "attention_bias"} & set(config)
    assert Mistral().settings(config)["window"] == 5
    assert Mistral().settings({**config, "sliding_window": None})["window"] is None
