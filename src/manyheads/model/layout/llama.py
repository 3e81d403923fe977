"""Llama's names, as in transformers' models/llama/modeling_llama.py and configuration_llama.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.layout import rope
from manyheads.model.layout.base import PLAIN, Layout, Tensors


class Llama(Layout):
    """RMSNorm before each half, rotary positions, SwiGLU, no biases (Touvron et al. 2023)."""

    model_type = "llama"
    architecture = "LlamaForCausalLM"
    admitted: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", "swish"),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "pretraining_tp": (1,),
    }
    shape: ClassVar[dict[str, Any]] = {key: value for key, value in PLAIN.items() if key != "rotary_scaling"} | {
        "norm": "rmsnorm",
        "norm_position": "pre",
        "positions": "rotary",
        "activation": "swiglu",
        "bias": False,
        "scale_embeddings": False,
        "num_experts": None,
    }
    names: ClassVar[dict[str, str]] = {
        "attention_norm": "input_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
    }

    def fits(self, settings: Mapping[str, Any], head: NextToken) -> bool:
        same = all(settings[key] == value for key, value in self.shape.items())
        return same and self.plain(head) and rope.can_be_written(settings)

    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "hidden_size": settings["dim"],
            "intermediate_size": settings["ff_dim"],
            "num_hidden_layers": settings["num_layers"],
            "num_attention_heads": settings["num_heads"],
            "num_key_value_heads": settings["num_kv_heads"],
            "head_dim": settings["dim"] // settings["num_heads"],
            "hidden_act": "silu",
            "rms_norm_eps": settings["norm_eps"],
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": settings["dropout"],
        } | rope.written(settings)

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        dim, num_heads = config["hidden_size"], config["num_attention_heads"]
        if (config.get("head_dim") or dim // num_heads) != dim // num_heads:
            raise UserError(
                "config.json: heads of another width than hidden_size / num_attention_heads have no counterpart in "
                f"Decoder: choose a {self.model_type} model without them."
            )
        return (
            self.shape
            | rope.read(config)
            | {
                "dim": dim,
                "ff_dim": config["intermediate_size"],
                "num_layers": config["num_hidden_layers"],
                "num_heads": num_heads,
                "num_kv_heads": config.get("num_key_value_heads") or num_heads,
                "norm_eps": config.get("rms_norm_eps", 1e-6),
                "dropout": config.get("attention_dropout", 0.0),
            }
        )

    def rename_out(self, tensors: Tensors, settings: Mapping[str, Any]) -> Tensors:
        pairs = self._pairs(settings)
        return {pairs[name]: tensor.clone() for name, tensor in tensors.items()}

    def rename_in(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensors:
        pairs = {theirs: ours for ours, theirs in self._pairs(settings).items()}
        kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
        return {pairs.get(name, name): tensor for name, tensor in kept.items()}

    def _pairs(self, settings: Mapping[str, Any]) -> dict[str, str]:
        pairs = {
            "network.embedding.weight": "model.embed_tokens.weight",
            "network.final_norm.weight": "model.norm.weight",
            "head.weight": "lm_head.weight",
        }
        for i in range(settings["num_layers"]):
            for ours, theirs in self.names.items():
                pairs[f"network.blocks.{i}.{ours}.weight"] = f"model.layers.{i}.{theirs}.weight"
        return pairs
