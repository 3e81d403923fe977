"""Guards: a layout that lacks a direction, so that weights go out and never come back in."""

import pytest

from manyheads.model.hugging_face import LAYOUTS
from manyheads.model.layout.base import PLAIN, Layout


def test_a_layout_needs_both_directions() -> None:
    with pytest.raises(TypeError, match="rename_in"):
        type("Half", (Layout,), {name: lambda *_: {} for name in ("fits", "config", "settings", "rename_out")})()


def test_every_layout_has_a_name_of_its_own() -> None:
    """Reading goes by `model_type`: of two with one name the first would never be found."""
    assert [layout.model_type for layout in LAYOUTS] == ["llama", "mistral", "qwen3", "mixtral", "gpt2", "manyheads"]
    assert all(layout.architecture for layout in LAYOUTS)


def test_what_a_layout_writes_it_admits() -> None:
    """The first admitted value is also the one that an error tells the user to look for."""
    settings = {
        "dim": 8, "ff_dim": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "norm_eps": 1e-5, "rotary_base": 1e4,
        "max_positions": 4, "dropout": 0.0, **PLAIN, "rotary_factor": None, "original_max_positions": None,
        "num_experts": 2, "experts_per_token": 2, "load_balance": 0.0,
    }  # fmt: skip
    for layout, activation in zip(LAYOUTS, ("swiglu", "swiglu", "swiglu", "swiglu", "gelu", "swiglu"), strict=True):
        written = layout.config({**settings, "activation": activation})
        assert {
            key: written[key] for key in layout.admitted if key in written and written[key] not in layout.admitted[key]
        } == {}
