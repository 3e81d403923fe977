"""What a layout is: one way to name a decoder's settings and tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from manyheads.head.next_token import NextToken

Tensors = dict[str, Tensor]

PLAIN: dict[str, Any] = {
    "block": "sequential",
    "rotary_scaling": "none",
    "qk_norm": False,
    "window": None,
    "full_every": None,
    "attention_softcap": None,
    "sinks": False,
}
"""The options of a Decoder that a layout without them leaves as they are."""


class Layout(ABC):
    """One way to name a decoder's settings and tensors."""

    model_type: ClassVar[str]
    architecture: ClassVar[str]
    tied_by_default: ClassVar[bool] = False
    admitted: ClassVar[dict[str, tuple[Any, ...]]] = {}  # config keys and the values that Decoder can follow

    @staticmethod
    def plain(head: NextToken) -> bool:
        """Whether the head is a matrix and nothing more."""
        return head.bias is None and head.softcap is None

    @abstractmethod
    def fits(self, settings: Mapping[str, Any], head: NextToken) -> bool:
        """Whether a network of these settings can be written so."""

    @abstractmethod
    def config(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings under the layout's names."""

    @abstractmethod
    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The other way."""

    @abstractmethod
    def rename_out(self, tensors: Tensors, settings: Mapping[str, Any]) -> Tensors:
        """From `network.*` and `head.*` to the layout's names."""

    @abstractmethod
    def rename_in(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensors:
        """The other way; a tied output matrix may be missing."""
