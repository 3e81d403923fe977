"""Mixtral's names, as published with its weights; transformers reads them in versions 4 and 5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from manyheads.head.next_token import NextToken
from manyheads.model.layout.llama import Llama


class Mixtral(Llama):
    """Llama's shape with a mixture of experts, whose weights are renormalised (Jiang et al. 2024)."""

    model_type = "mixtral"
    architecture = "MixtralForCausalLM"
    admitted: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", "swish"),
        "sliding_window": (None,),
        "router_jitter_noise": (0.0,),
    }
    shape: ClassVar[dict[str, Any]] = {key: value for key, value in Llama.shape.items() if key != "num_experts"} | {
        "rotary_scaling": "none"
    }
    names: ClassVar[dict[str, str]] = {
        key: value for key, value in Llama.names.items() if not key.startswith("feed_forward.")
    } | {"feed_forward.router": "block_sparse_moe.gate"}
    expert_names: ClassVar[dict[str, str]] = {"gate": "w1", "down": "w2", "up": "w3"}

    def fits(self, settings: Mapping[str, Any], head: NextToken) -> bool:
        experts = settings["num_experts"] is not None and settings["experts_per_token"] > 1
        return experts and super().fits(settings, head)

    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        config = super().config(settings)
        return {key: value for key, value in config.items() if key not in ("attention_bias", "mlp_bias")} | {
            "num_local_experts": settings["num_experts"],
            "num_experts_per_tok": settings["experts_per_token"],
            "router_aux_loss_coef": settings["load_balance"],
            "sliding_window": None,
        }

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return super().settings(config) | {
            "num_experts": config["num_local_experts"],
            "experts_per_token": config.get("num_experts_per_tok", 2),
            "load_balance": config.get("router_aux_loss_coef", 0.001),
        }

    def _pairs(self, settings: Mapping[str, Any]) -> dict[str, str]:
        pairs = super()._pairs(settings)
        for i in range(settings["num_layers"]):
            for j in range(settings["num_experts"]):
                for ours, theirs in self.expert_names.items():
                    pairs[f"network.blocks.{i}.feed_forward.experts.{j}.{ours}.weight"] = (
                        f"model.layers.{i}.block_sparse_moe.experts.{j}.{theirs}.weight"
                    )
        return pairs
