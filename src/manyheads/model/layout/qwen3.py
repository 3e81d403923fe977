"""Qwen3's names, as in transformers' models/qwen3/modeling_qwen3.py: Llama's, norms of queries and keys, and windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from manyheads.errors import UserError
from manyheads.model.layout.llama import Llama

WINDOWED, FULL = "sliding_attention", "full_attention"


class Qwen3(Llama):
    """A Llama with norms of queries and keys (Yang et al. 2025, section 2)."""

    model_type = "qwen3"
    architecture = "Qwen3ForCausalLM"
    admitted: ClassVar[dict[str, tuple[Any, ...]]] = {"hidden_act": ("silu", "swish"), "attention_bias": (False,)}
    shape: ClassVar[dict[str, Any]] = {
        key: value for key, value in Llama.shape.items() if key not in ("window", "full_every")
    } | {"qk_norm": True}
    names: ClassVar[dict[str, str]] = Llama.names | {
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
    }

    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        config = {key: value for key, value in super().config(settings).items() if key not in ("mlp_bias",)}
        window, every = settings["window"], settings["full_every"]
        layers = _layers(settings["num_layers"], window, every)
        return config | {"use_sliding_window": window is not None, "sliding_window": window, "layer_types": layers}

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        window = config.get("sliding_window") if config.get("use_sliding_window") else None
        settings = super().settings(config) | {"window": window}
        num_layers = config["num_hidden_layers"]
        layers = config.get("layer_types")
        if window is None or (layers is None and config.get("max_window_layers", 28) >= num_layers):
            return settings | {"window": None}
        for every in (None, *range(1, num_layers + 1)):
            if layers == _layers(num_layers, window, every):
                return settings | {"full_every": every}
        raise UserError(
            "config.json: layer_types has no counterpart in Decoder: choose a qwen3 model in which every n-th layer is "
            f"{FULL}, or all are {WINDOWED}."
        )


def _layers(num_layers: int, window: int | None, full_every: int | None) -> list[str]:
    full = [window is None or (bool(full_every) and (i + 1) % full_every == 0) for i in range(num_layers)]
    return [FULL if seen else WINDOWED for seen in full]
