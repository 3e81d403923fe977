"""What decoding puts in the place of a part: it computes the same in fewer calls, from weights that it may copy."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from manyheads.decoding.linear import linear
from manyheads.model.attention import Attention, Context
from manyheads.model.norm import RMSNorm

SMALL = 2**18
"""Weights up to which queries, keys and values are made by one product: of larger matrices the product takes the time,
and not the call; and a copy of them would."""


class Linear:
    """nn.Linear."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class JointAttention:
    """Attention whose queries, keys and values come out of one product, and whose queries and keys are turned together."""

    def __init__(self, module: Attention, plain: Any) -> None:
        self.plain = plain  # the attention with parts of its own
        self.head_dim = module.head_dim
        parts = (module.query, module.key, module.value)
        heads = [part.out_features // module.head_dim for part in parts]
        self.turned, self.split = (heads[0] + heads[1], heads[2]), heads[:2]
        self.weight = torch.cat([part.weight for part in parts])
        self.bias = None if module.query.bias is None else torch.cat([part.bias for part in parts])

    @staticmethod
    def suits(module: Attention) -> bool:
        """Whether queries and keys need nothing of their own, and the matrices are small."""
        rows = sum(part.out_features for part in (module.query, module.key, module.value))
        return module.query_norm is None and rows * module.query.in_features <= SMALL

    def __call__(self, x: Tensor, context: Context, layer: int) -> Tensor:
        heads = F.linear(x, self.weight, self.bias).unflatten(-1, (-1, self.head_dim))  # [B, T, H + 2 G, K]
        turned, value = heads.split_with_sizes(self.turned, 2)
        if context.rotation is not None:
            turned = context.rotation.rotate(turned)
        query, key = turned.transpose(1, 2).split_with_sizes(self.split, 1)
        return self.plain.attend(query, key, value.transpose(1, 2), context, layer)


class MirroredNorm:
    """RMSNorm as the LayerNorm of x beside -x: their mean is 0 and their variance the mean of x^2. torch has one kernel
    for it, and eight calls for its RMSNorm on a CPU."""

    def __init__(self, module: RMSNorm, plain: Any) -> None:
        self.plain = plain
        self.width = module.weight.shape[0]
        self.weight = torch.cat((module.weight, module.weight))
        self.eps = module.eps

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype != self.weight.dtype:
            return self.plain(x)
        return F.layer_norm(torch.cat((x, -x), -1), (2 * self.width,), self.weight, None, self.eps)[..., : self.width]  # type: ignore[arg-type]
