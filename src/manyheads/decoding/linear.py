"""A linear layer where no gradient is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGE = 2**19
"""Weights from which on oneDNN saves more than its call costs (some 12 microseconds)."""

_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def _is_intel(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's processor is one of Intel's; elsewhere than on Linux nobody says so."""
    try:
        return "GenuineIntel" in cpuinfo.read_text(encoding="utf-8")[:4096]
    except OSError:
        return False


_MKLS_OWN = _is_intel()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b of [..., D] and [V, D], as `F.linear`.

    Of large float32 matrices on a CPU oneDNN makes the product, the library that torch takes for every other precision
    there: few rows go through a matrix at 1.2 to 1.5 times the speed of MKL (docs/log.md). It gives no gradient, so that
    nothing changes where one is asked for. A single row is read at the speed of memory whoever computes, and on Intel's
    processors, which MKL is made for, sooner by it.
    """
    if (
        _ONEDNN is not None
        and not (_MKLS_OWN and x.numel() == x.shape[-1])
        and weight.numel() >= LARGE
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    ):
        return _ONEDNN(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)
