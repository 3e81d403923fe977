"""This package's own names, for networks that no other tool knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from manyheads.head.next_token import NextToken
from manyheads.model.layout.base import Layout, Tensors


class Own(Layout):
    """The keyword arguments of Decoder and the names of its state dict, as they are."""

    model_type = "manyheads"
    architecture = "Decoder"

    def fits(self, settings: Mapping[str, Any], head: NextToken) -> bool:
        return True

    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return dict(settings)

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        outside = {"model_type", "architectures", "bos_token_id", "eos_token_id", "tie_word_embeddings", "dtype"}
        outside |= {"final_logit_softcapping"}
        return {key: value for key, value in config.items() if key not in outside}

    def rename_out(self, tensors: Tensors, settings: Mapping[str, Any]) -> Tensors:
        return {name: tensor.clone() for name, tensor in tensors.items()}

    def rename_in(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensors:
        return dict(tensors)
