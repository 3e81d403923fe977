"""One layer: attention and feed-forward, each with a residual connection and a norm before or after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from manyheads.model.attention import Attention, Context


class Block(nn.Module, ABC):
    """What both orders have in common; [B, T, D] -> [B, T, D]."""

    def __init__(
        self, *, attention: Attention, feed_forward: nn.Module, norm: Callable[[], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = norm()
        self.attention = attention
        self.feed_forward_norm = norm()
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor: ...


class PreNormBlock(Block):
    """x + f(norm(x)) (Xiong et al. 2020, figure 1b; GPT-2, Llama)."""

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), context, layer))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class PostNormBlock(Block):
    """norm(x + f(x)) (Vaswani et al. 2017, section 3.1)."""

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, context, layer)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


BLOCKS: dict[str, type[Block]] = {"pre": PreNormBlock, "post": PostNormBlock}
