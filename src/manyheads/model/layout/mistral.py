"""Mistral's names, as in transformers' models/mistral/configuration_mistral.py: Llama's, and a window in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from manyheads.head.next_token import NextToken
from manyheads.model.layout.llama import Llama


class Mistral(Llama):
    """A Llama whose layers see a window (Jiang et al. 2023, section 2)."""

    model_type = "mistral"
    architecture = "MistralForCausalLM"
    admitted: ClassVar[dict[str, tuple[Any, ...]]] = {"hidden_act": ("silu", "swish")}
    shape: ClassVar[dict[str, Any]] = {key: value for key, value in Llama.shape.items() if key != "window"}

    def fits(self, settings: Mapping[str, Any], head: NextToken) -> bool:
        return super().fits(settings, head) and settings["window"] is not None

    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        config = {key: value for key, value in super().config(settings).items() if key not in Llama.admitted}
        return config | {"hidden_act": "silu", "sliding_window": settings["window"]}

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return super().settings(config) | {"window": config.get("sliding_window")}
