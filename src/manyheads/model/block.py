"""One layer: attention and feed-forward, one after the other or side by side, with norms before or after them; in a decoder
behind an encoder, attention to that one between the two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.model.attention import CrossAttention


class Block(nn.Module, ABC):
    """What all orders have in common; [B, T, D] -> [B, T, D]."""

    two_norms: ClassVar[bool] = True

    def __init__(
        self, *, attention: nn.Module, feed_forward: nn.Module, norm: Callable[[], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = norm()
        self.attention = attention
        self.feed_forward_norm = norm() if self.two_norms else nn.Identity()
        self.feed_forward = feed_forward
        self.dropout = dropout

    @abstractmethod
    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        """`context` is what this kind of attention is told of a batch."""

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class PreNormBlock(Block):
    """x + f(norm(x)) (Xiong et al. 2020, figure 1b; GPT-2, Llama)."""

    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        x = x + self._drop(self.attention(self.attention_norm(x), context, layer))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))


class PostNormBlock(Block):
    """norm(x + f(x)) (Vaswani et al. 2017, section 3.1)."""

    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        x = self.attention_norm(x + self._drop(self.attention(x, context, layer)))
        return self.feed_forward_norm(x + self._drop(self.feed_forward(x)))


class ParallelBlock(Block):
    """x + attention(norm(x)) + feed_forward(another norm(x)) (GPT-NeoX-20B: Black et al. 2022, section 2.1)."""

    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        attended = self._drop(self.attention(self.attention_norm(x), context, layer))
        return x + attended + self._drop(self.feed_forward(self.feed_forward_norm(x)))


class ParallelOneNormBlock(Block):
    """x + attention(norm(x)) + feed_forward(norm(x)) (GPT-J: Wang and Komatsuzaki 2021; PaLM: Chowdhery et al. 2022,
    section 2)."""

    two_norms = False

    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        normed = self.attention_norm(x)
        return x + self._drop(self.attention(normed, context, layer)) + self._drop(self.feed_forward(normed))


class CrossBlock(Block):
    """A block with attention to an encoder's states between its halves (Vaswani et al. 2017, section 3.1)."""

    def __init__(
        self,
        *,
        attention: nn.Module,
        cross_attention: CrossAttention,
        feed_forward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: float,
    ) -> None:
        super().__init__(attention=attention, feed_forward=feed_forward, norm=norm, dropout=dropout)
        self.cross_attention_norm = norm()
        self.cross_attention = cross_attention


class PreNormCrossBlock(CrossBlock):
    """x + f(norm(x)), three times."""

    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        x = x + self._drop(self.attention(self.attention_norm(x), context, layer))
        x = x + self._drop(self.cross_attention(self.cross_attention_norm(x), context, layer))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))


class PostNormCrossBlock(CrossBlock):
    """norm(x + f(x)), three times."""

    def forward(self, x: Tensor, context: Any, layer: int) -> Tensor:
        x = self.attention_norm(x + self._drop(self.attention(x, context, layer)))
        x = self.cross_attention_norm(x + self._drop(self.cross_attention(x, context, layer)))
        return self.feed_forward_norm(x + self._drop(self.feed_forward(x)))


BLOCKS: dict[str, dict[str, type[Block]]] = {
    "sequential": {"pre": PreNormBlock, "post": PostNormBlock},
    "parallel": {"pre": ParallelBlock},
    "parallel_one_norm": {"pre": ParallelOneNormBlock},
}
"""By the order of the halves, then by where the norms are."""

CROSS_BLOCKS: dict[str, type[CrossBlock]] = {"pre": PreNormCrossBlock, "post": PostNormCrossBlock}
"""By where the norms are."""
