"""Guards: a number of the scaling under a wrong name. That logits agree is held by test_hugging_face.py."""

from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.model.decoder import Decoder
from manyheads.model.layout.rope import can_be_written, read, written

ROPE: dict[str, Any] = {
    "rotary_scaling": "yarn",
    "rotary_factor": 4.0,
    "original_max_positions": 64,
    "rotary_base": 5e5,
}


def settings(**given: Any) -> dict[str, Any]:
    return Decoder(vocab_size=4, dim=8, num_layers=1, num_heads=1, **given).settings


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"rotary_base": 50.0, "max_positions": 9},
        {"rotary_scaling": "linear", "rotary_factor": 2.0, "max_positions": 9},
        {"rotary_scaling": "dynamic", "rotary_factor": 2.0, "original_max_positions": 64},
        ROPE,
        ROPE | {"rotary_slow": 2.0, "rotary_fast": 20.0, "max_positions": 256},
        ROPE | {"rotary_scaling": "llama3", "rotary_slow": 2.0},
    ],
)
def test_there_and_back(given: dict[str, Any]) -> None:
    made = settings(**given)
    back = read(written(made))
    assert {key: made[key] for key in back} == back
    assert set(given) <= set(back)


def test_each_number_stands_under_its_name() -> None:
    """Llama 3.1's own config.json, as its publisher wrote it for transformers 4."""
    published = {
        "max_position_embeddings": 131072, "rope_theta": 500000.0,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    }  # fmt: skip
    ours = {
        "rotary_base": 500000.0, "rotary_scaling": "llama3", "rotary_factor": 8.0, "original_max_positions": 8192,
        "rotary_slow": 1.0, "rotary_fast": 4.0, "max_positions": 131072,
    }  # fmt: skip
    assert read(published) == ours
    again = written(settings(**ours))
    assert again["rope_scaling"] == again["rope_parameters"] == published["rope_scaling"] | {"rope_theta": 500000.0}


def test_the_oldest_names_are_read() -> None:
    found = read({"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 2.0}})
    assert found == {"rotary_base": 100.0, "rotary_scaling": "linear", "rotary_factor": 2.0, "max_positions": None}


def test_what_decoder_does_not_have_is_refused_by_name() -> None:
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8}
    for rope, text in (
        ({"rope_type": "longrope"}, "rope_type=longrope"),
        (yarn | {"attention_factor": 1.5}, "attention_factor=1.5"),
        (yarn | {"truncate": False}, "truncate=False"),
        ({"rope_type": "default", "partial_rotary_factor": 0.25}, "partial_rotary_factor=0.25"),
        ({"rope_type": "default", "short_factor": [1.0]}, "short_factor="),
    ):
        with pytest.raises(UserError) as caught:
            read({"rope_parameters": rope})
        assert text in str(caught.value)
    assert read({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}})["rotary_scaling"] == "none"


def test_dynamic_positions_with_a_limit_have_no_place() -> None:
    dynamic = {"rotary_scaling": "dynamic", "rotary_factor": 2.0, "original_max_positions": 64}
    assert can_be_written(settings(**dynamic))
    assert not can_be_written(settings(**dynamic, max_positions=128))
