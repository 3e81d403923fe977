"""Guards: a window in the wrong layers. That logits agree is held by test_hugging_face.py."""

from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.qwen3 import Qwen3


def settings(**given: Any) -> dict[str, Any]:
    return Decoder(vocab_size=11, dim=12, num_layers=4, num_heads=3, qk_norm=True, **given).settings


@pytest.mark.parametrize(
    ("given", "layers"),
    [
        ({}, "ffff"),
        ({"window": 5}, "wwww"),
        ({"window": 5, "full_every": 2}, "wfwf"),
        ({"window": 5, "full_every": 3}, "wwfw"),
    ],
)
def test_the_layers_go_out_and_in(given: dict[str, Any], layers: str) -> None:
    config = Qwen3().config(settings(**given))
    assert "".join("w" if name == "sliding_attention" else "f" for name in config["layer_types"]) == layers
    back = Qwen3().settings(config)
    assert (back["window"], back.get("full_every"), back["qk_norm"]) == (
        given.get("window"),
        given.get("full_every"),
        True,
    )


def test_windows_as_older_configs_name_them() -> None:
    config = {key: value for key, value in Qwen3().config(settings(window=5)).items() if key != "layer_types"}
    assert Qwen3().settings(config | {"max_window_layers": 4})["window"] is None
    assert Qwen3().settings(config | {"use_sliding_window": False})["window"] is None
    with pytest.raises(UserError, match="layer_types has no counterpart"):
        Qwen3().settings(config | {"max_window_layers": 2})


def test_without_norms_it_is_none() -> None:
    head = NextToken(dim=12, vocab_size=11)
    assert Qwen3().fits(settings(window=5, full_every=2), head)
    assert not Qwen3().fits({**settings(), "qk_norm": False}, head)
    assert not Qwen3().fits({**settings(), "sinks": True}, head)
