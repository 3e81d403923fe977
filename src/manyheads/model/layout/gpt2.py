"""GPT-2's names, as in transformers' models/gpt2/modeling_gpt2.py and configuration_gpt2.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from manyheads.head.next_token import NextToken
from manyheads.model.layout.base import PLAIN, Layout, Tensors


class GPT2(Layout):
    """LayerNorm before each half, learned positions, biases, no gate (Radford et al. 2019)."""

    model_type = "gpt2"
    architecture = "GPT2LMHeadModel"
    tied_by_default = True
    admitted: ClassVar[dict[str, tuple[Any, ...]]] = {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu", "relu"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    }
    shape: ClassVar[dict[str, Any]] = PLAIN | {
        "norm": "layernorm",
        "norm_position": "pre",
        "positions": "learned",
        "bias": True,
        "scale_embeddings": False,
        "num_experts": None,
    }
    activations: ClassVar[dict[str, str]] = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}
    names: ClassVar[dict[str, str]] = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2"}
    transposed: ClassVar[dict[str, str]] = {  # a Conv1D keeps its weight as [in, out]
        "attention.output": "attn.c_proj",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    }
    fused: ClassVar[tuple[str, ...]] = ("query", "key", "value")  # in attn.c_attn, in this order

    def fits(self, settings: Mapping[str, Any], head: NextToken) -> bool:
        same = all(settings[key] == value for key, value in self.shape.items())
        own_keys = settings["num_kv_heads"] == settings["num_heads"]
        return same and own_keys and self.plain(head) and settings["activation"] in self.activations

    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        dropout = settings["dropout"]
        return {
            "n_embd": settings["dim"],
            "n_inner": settings["ff_dim"],
            "n_layer": settings["num_layers"],
            "n_head": settings["num_heads"],
            "n_positions": settings["max_positions"],
            "activation_function": self.activations[settings["activation"]],
            "layer_norm_epsilon": settings["norm_eps"],
            "embd_pdrop": dropout,
            "attn_pdrop": dropout,
            "resid_pdrop": dropout,
        }

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        activations = {theirs: ours for ours, theirs in self.activations.items()} | {"gelu_pytorch_tanh": "gelu_tanh"}
        return self.shape | {
            "dim": config["n_embd"],
            "ff_dim": config.get("n_inner") or 4 * config["n_embd"],
            "num_layers": config["n_layer"],
            "num_heads": config["n_head"],
            "max_positions": config["n_positions"],
            "activation": activations[config.get("activation_function", "gelu_new")],
            "norm_eps": config.get("layer_norm_epsilon", 1e-5),
            "dropout": config.get("resid_pdrop", 0.1),
        }

    def rename_out(self, tensors: Tensors, settings: Mapping[str, Any]) -> Tensors:
        done = {theirs: tensors[ours].clone() for ours, theirs in self._pairs(settings).items() if ours in tensors}
        for i in range(settings["num_layers"]):
            inside, outside = f"network.blocks.{i}.", f"transformer.h.{i}."
            for ours, theirs in self.transposed.items():
                done[f"{outside}{theirs}.weight"] = tensors[f"{inside}{ours}.weight"].t().contiguous()
            for leaf in ("weight", "bias"):
                parts = [tensors[f"{inside}attention.{name}.{leaf}"] for name in self.fused]
                done[f"{outside}attn.c_attn.{leaf}"] = torch.cat(parts).t().contiguous()
        return done

    def rename_in(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensors:
        # the first published files have no prefix, and the causal masks as tensors
        given = {
            name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}": tensor
            for name, tensor in tensors.items()
            if not name.endswith((".attn.bias", ".attn.masked_bias"))
        }
        done = {ours: given.pop(theirs) for ours, theirs in self._pairs(settings).items() if theirs in given}
        for i in range(settings["num_layers"]):
            inside, outside = f"network.blocks.{i}.", f"transformer.h.{i}."
            for ours, theirs in self.transposed.items():
                if f"{outside}{theirs}.weight" in given:
                    done[f"{inside}{ours}.weight"] = given.pop(f"{outside}{theirs}.weight").t().contiguous()
            for leaf in ("weight", "bias"):
                if f"{outside}attn.c_attn.{leaf}" in given:
                    parts = given.pop(f"{outside}attn.c_attn.{leaf}").t().contiguous().chunk(3)
                    done |= {f"{inside}attention.{n}.{leaf}": p.clone() for n, p in zip(self.fused, parts, strict=True)}
        return done | given

    def _pairs(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """The tensors that change only their names."""
        pairs = {
            "network.embedding.weight": "transformer.wte.weight",
            "network.positions.table.weight": "transformer.wpe.weight",
            "network.final_norm.weight": "transformer.ln_f.weight",
            "network.final_norm.bias": "transformer.ln_f.bias",
            "head.weight": "lm_head.weight",
        }
        for i in range(settings["num_layers"]):
            for ours, theirs in self.names.items():
                pairs[f"network.blocks.{i}.{ours}.weight"] = f"transformer.h.{i}.{theirs}.weight"
            for ours, theirs in (self.names | self.transposed).items():
                pairs[f"network.blocks.{i}.{ours}.bias"] = f"transformer.h.{i}.{theirs}.bias"
        return pairs
