"""What a network and its head are made of, and what a token costs: parameters by part, and FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import nn

TORCHS: dict[str, tuple[type[nn.Module], ...]] = {
    "embedding": (nn.Embedding,),
    "recurrent": (nn.RNNBase,),
    "norms": (nn.RMSNorm, nn.LayerNorm),
}
"""Parts of which torch's own modules are. A module of ours says with an attribute `part` of which it is, and a parameter
belongs to the innermost that is of any."""

LAST = ("norms", "head", "tokens ahead")
"""What is told behind the others, which come as they do in the network, embeddings first."""

OTHER = "other"


class Count(NamedTuple):
    """How many parameters there are, and how many of them one token uses."""

    total: int
    active: int  # less than `total` where a module sends a token to a share of its parameters


class Flops(NamedTuple):
    """Floating-point operations for one token of a full row; a multiplication and an addition count as two."""

    forward: int  # without gradients: what validation does, and decoding at the end of a row
    training: int  # forward and backward, without what is computed anew
    recomputed: int  # the forward passes that activation checkpointing adds to a training step


def count_parameters(module: nn.Module) -> dict[str, Count]:
    """Part -> its parameters, tied ones once and in the part that comes first; empty parts are left out.

    A module of which a token uses a share of the parameters, such as the experts of a mixture, says so with an attribute
    `active_share`, e.g. 2 / 8 for two experts out of eight.
    """
    found: dict[str, list[int]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.numel():
            continue
        owners = list(_owners(module, name))
        part = next((part for owner in reversed(owners) if (part := part_of(owner))), OTHER)
        sums = found.setdefault(part, [0, 0])
        sums[0] += parameter.numel()
        sums[1] += round(parameter.numel() * _share(owners))
    last = [*LAST, OTHER]
    order = sorted(found, key=lambda part: (part != "embedding", last.index(part) if part in last else -1))
    return {part: Count(*found[part]) for part in order}


def part_of(module: nn.Module) -> str | None:
    """The part that a module is; None where it is of none by itself."""
    own = getattr(type(module), "part", None)
    return own or next((part for part, kinds in TORCHS.items() if isinstance(module, kinds)), None)


def count_flops(module: nn.Module, seq_len: int) -> Flops:
    """The FLOPs of one token in a row of `seq_len`: 2 W + 4 L H K T forward, three times as many in training.

    W are the weights that activations are multiplied with: all matrices of the layers and the head's, tied or not, but
    no table of embeddings, which is read and not multiplied with; of experts, those that a token uses. 4 K T for each head
    is the product of queries and keys, and that of its softmax and values, over all T keys, as if none were masked: a
    window too is a mask. The backward pass takes twice as much as the forward pass. (Kaplan et al. 2020, section 2.1;
    Chowdhery et al. 2022, appendix B, whose 6 N + 12 L H Q T counts norms and tables among N.) Additions, norms,
    activations and softmax are not counted, there as here.

    A module that multiplies more than once with its weights, or also without any, says so with a method
    `further_flops(seq_len, training)`; one that validation does without has an attribute `only_in_training`.
    """
    recomputed = [part for part in module.modules() if getattr(part, "recomputed", False)]
    return Flops(
        forward=_forward(module, module, seq_len, training=False),
        training=3 * _forward(module, module, seq_len, training=True),
        recomputed=sum(_forward(module, part, seq_len, training=True) for part in recomputed),
    )


def _forward(root: nn.Module, part: nn.Module, seq_len: int, *, training: bool) -> int:
    """What the modules under `part` add to a forward pass."""
    names = {id(module): name for name, module in root.named_modules()}
    flops = 0
    for module in part.modules():
        if isinstance(module, nn.Embedding) or (getattr(module, "only_in_training", False) and not training):
            continue
        weights = sum(p.numel() for p in module.parameters(recurse=False) if p.ndim > 1)
        flops += round(2 * weights * _share(_owners(root, f"{names[id(module)]}.".lstrip("."))))
        further = getattr(module, "further_flops", None)
        flops += further(seq_len, training) if further is not None else 0
    return flops


def _owners(root: nn.Module, name: str) -> Iterator[nn.Module]:
    """The modules that hold a parameter of that dotted name, outermost first."""
    yield root
    for step in name.split(".")[:-1]:
        root = root.get_submodule(step)
        yield root


def _share(owners: Iterable[nn.Module]) -> float:
    share = 1.0
    for owner in owners:
        share *= getattr(owner, "active_share", 1.0)
    return share
