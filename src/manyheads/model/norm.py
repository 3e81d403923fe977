"""The two normalisations."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019, equation 4)."""

    def forward(self, x: Tensor) -> Tensor:  # [..., D] -> [..., D]
        weight, eps = self.weight, self.eps
        assert eps is not None
        if x.device.type != "cpu" or x.dtype != weight.dtype or weight.dtype not in (torch.float32, torch.float64):
            return F.rms_norm(x, self.normalized_shape, weight, eps)
        if not torch.is_grad_enabled():
            return F.rms_norm(x, self.normalized_shape, weight, eps)  # the same to the bit, in fewer calls
        # the backward pass of F.rms_norm on a CPU takes several times as long as this one
        scale = torch.rsqrt(torch.linalg.vecdot(x, x) / x.shape[-1] + eps).unsqueeze(-1)
        return x * scale * weight


def rms_norm(dim: int, eps: float, bias: bool) -> nn.Module:
    """RMSNorm has no bias, whatever the other layers have."""
    return RMSNorm(dim, eps=eps)


def layer_norm(dim: int, eps: float, bias: bool) -> nn.Module:
    """LayerNorm (Ba, Kiros and Hinton 2016)."""
    return nn.LayerNorm(dim, eps=eps, bias=bias)


NORMS: dict[str, Callable[[int, float, bool], nn.Module]] = {"rmsnorm": rms_norm, "layernorm": layer_norm}
