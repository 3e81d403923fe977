"""How weights start: each scheme as its paper says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import init


class Shape(NamedTuple):
    """What a scheme may scale by."""

    dim: int
    num_layers: int
    std: float
    per_layer: int = 2  # how many parts of a layer write to the residual stream
    query_scale: float = 1.0  # what attention leaves to its queries: 1 / sqrt(K) where it does not divide by sqrt(K)


Role = Literal["residual", "query", "tokens", "places", "inner"]
"""What a matrix is for: it writes to the residual stream, makes queries, is a table of tokens or of places, or none of these."""


def gpt2(weight: nn.Parameter, shape: Shape, *, role: Role) -> None:
    """N(0, std); the matrices that write to the residual stream divided by sqrt(number of residual layers, such as 2 L).

    Radford et al. 2019, section 2.3; std 0.02 from Radford et al. 2018, section 4.1.
    """
    init.normal_(
        weight, std=shape.std / math.sqrt(shape.per_layer * shape.num_layers) if role == "residual" else shape.std
    )


def normal(weight: nn.Parameter, shape: Shape, *, role: Role) -> None:
    """N(0, std) everywhere (OLMo 2: OLMo et al. 2024, section 3.2)."""
    init.normal_(weight, std=shape.std)


def neox(weight: nn.Parameter, shape: Shape, *, role: Role) -> None:
    """N(0, sqrt(2 / (5 D))) (Nguyen and Salazar 2019); matrices that write to the residual stream N(0, 2 / (L sqrt(D))).

    GPT-NeoX-20B: Black et al. 2022, section 2.1.
    """
    small = math.sqrt(2 / (5 * shape.dim))
    init.normal_(weight, std=2 / (shape.num_layers * math.sqrt(shape.dim)) if role == "residual" else small)


def glorot(weight: nn.Parameter, shape: Shape, *, role: Role) -> None:
    """Uniform within sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16)."""
    init.xavier_uniform_(weight)


def zero_residual(weight: nn.Parameter, shape: Shape, *, role: Role) -> None:
    """N(0, std), and 0 for the matrices that write to the residual stream, so that each block starts as the identity.

    Zhang, Dauphin and Ma 2019 (Fixup), section 3, rule 1.
    """
    init.zeros_(weight) if role == "residual" else init.normal_(weight, std=shape.std)


def t5(weight: nn.Parameter, shape: Shape, *, role: Role) -> None:
    """N(0, 1 / sqrt(inputs)), a query's by 1 / sqrt(K) narrower where the scores are not divided by sqrt(K); embeddings of
    tokens N(0, 1), numbers of places N(0, 1 / sqrt(D)).

    Raffel et al. 2020, as their models start: Mesh TensorFlow's transformer_layers.py and layers.py (`dense`).
    """
    narrow = weight.shape[-1] ** -0.5
    stds = {"tokens": 1.0, "places": shape.dim**-0.5, "query": narrow * shape.query_scale}
    init.normal_(weight, std=stds.get(role, narrow))


INITIALIZATIONS: dict[str, Callable[..., None]] = {
    "gpt2": gpt2,
    "normal": normal,
    "neox": neox,
    "glorot": glorot,
    "zero_residual": zero_residual,
    "t5": t5,
}


def initialize(module: nn.Module, scheme: str, shape: Shape) -> None:
    """Draws the matrices and tables of all parts of `module`, in their order; biases become 0 and norms 1."""
    draw = INITIALIZATIONS[scheme]
    with torch.no_grad():
        for name, part in module.named_modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                draw(part.weight, shape, role=_role(part, name))
            if isinstance(part, nn.Linear) and part.bias is not None:
                init.zeros_(part.bias)
            if isinstance(part, nn.LayerNorm | nn.RMSNorm):
                part.reset_parameters()


def _role(part: nn.Module, name: str) -> Role:
    """Of a module by its dotted name."""
    if isinstance(part, nn.Embedding):
        return "places" if name.endswith("positions.table") else "tokens"
    if name.endswith(("attention.output", ".down")):
        return "residual"
    return "query" if name.endswith("attention.query") else "inner"
