"""Which parameters of a module are treated alike."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn
from torch.nn import Parameter

from manyheads.head.base import Head


class Groups(NamedTuple):
    """The parameters that are trained, each in one list, in the module's own order."""

    matrices: list[Parameter]  # 2-D weights of hidden layers
    decayed: list[Parameter]  # other weights of two or more dimensions: those of heads, and of convolutions
    undecayed: list[Parameter]  # embeddings (also where a head shares them), norms, biases and other vectors


def parameter_groups(module: nn.Module) -> Groups:
    """Sorts a module's parameters by what they are part of, not by their names.

    Weight decay is for weights that multiply activations (Loshchilov and Hutter, "Decoupled Weight Decay
    Regularization", 2019; no decay on biases, norms: Karpathy, minGPT, configure_optimizers). Muon is for hidden
    layers alone (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024).
    """
    embeddings = {id(p) for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    heads = {id(p) for part in module.modules() if isinstance(part, Head) for p in part.parameters()}
    groups = Groups([], [], [])
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2 or id(parameter) in embeddings:
            groups.undecayed.append(parameter)
        elif parameter.ndim == 2 and id(parameter) not in heads:
            groups.matrices.append(parameter)
        else:
            groups.decayed.append(parameter)
    return groups


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The groups of an optimizer: weights, which decay, and everything else, which does not."""
    groups = parameter_groups(module)
    return [
        {"params": groups.matrices + groups.decayed, "weight_decay": weight_decay},
        {"params": groups.undecayed, "weight_decay": 0.0},
    ]
