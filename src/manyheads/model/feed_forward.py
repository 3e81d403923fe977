"""The position-wise half of a block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Activation(NamedTuple):
    """A nonlinearity, and whether it gates: function(gate(x)) * up(x) instead of function(up(x))."""

    function: Callable[[Tensor], Tensor]
    gated: bool

    def default_width(self, dim: int) -> int:
        """The inner width when none is given.

        4 * dim without a gate (Vaswani et al. 2017, section 3.3). With one, 2/3 of that, so that the three matrices have
        as many weights as the two (Shazeer 2020, section 2), rounded up to a multiple of 64 as Llama does with 256.
        """
        return -(-8 * dim // (3 * 64)) * 64 if self.gated else 4 * dim


ACTIVATIONS: dict[str, Activation] = {
    "swiglu": Activation(F.silu, gated=True),  # Shazeer 2020, equation 6
    # the same, equation 6, with the tanh of T5 1.1 (mesh_tensorflow's gelu)
    "geglu": Activation(partial(F.gelu, approximate="tanh"), gated=True),
    "gelu": Activation(F.gelu, gated=False),  # Hendrycks and Gimpel 2016
    "gelu_tanh": Activation(partial(F.gelu, approximate="tanh"), gated=False),  # the same, section 2; GPT-2
    "relu": Activation(F.relu, gated=False),  # Vaswani et al. 2017, equation 2
}


class FeedForward(nn.Module):
    """down(function(up(x))), or down(function(gate(x)) * up(x)) with a gate; [B, T, D] -> [B, T, D]."""

    part: ClassVar[str] = "feed-forward"

    def __init__(self, *, dim: int, ff_dim: int, activation: Activation, bias: bool) -> None:
        super().__init__()
        self.function = activation.function
        self.gate = nn.Linear(dim, ff_dim, bias=bias) if activation.gated else None
        self.up = nn.Linear(dim, ff_dim, bias=bias)
        self.down = nn.Linear(ff_dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(self.function(self.up(x)))
        return self.down(self.function(self.gate(x)) * self.up(x))
