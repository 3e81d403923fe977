"""The repeated blocks of a network, one by one: compiled, or computed anew in the backward pass.

A network says which they are with an attribute `blocks`, an nn.ModuleList of layers alike, of its own or of its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from manyheads.errors import UserError
from manyheads.model.mixture_of_experts import MixtureOfExperts


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """The network's layers, its own before those of its parts; [] for a network that names none."""
    found: list[nn.Module] = []
    for part in network.modules():
        blocks = getattr(part, "blocks", None)
        found += list(blocks) if isinstance(blocks, nn.ModuleList) else []
    return found


def check_blocks(network: nn.Module, every: int | None, compiled: bool) -> None:
    """Raises UserError for a network whose blocks cannot be computed anew (`every`), or not if they are compiled too."""
    if every is None:
        return
    blocks = repeated_blocks(network)
    if len(blocks) < every:
        there = f"has {len(blocks)} blocks" if blocks else "names no blocks"
        raise UserError(
            f"activation_checkpointing={every}: {type(network).__name__} {there}. "
            f"Set activation_checkpointing={'1' if blocks else 'null'}."
        )
    if compiled and _mixtures(network):
        # the experts' part would leave the whole block uncompiled without a word
        raise UserError(
            f"compile=true activation_checkpointing={every}: with model.num_experts torch cannot do both. "
            "Set compile=false or activation_checkpointing=null."
        )


def compile_blocks(network: nn.Module) -> None:
    """Compiles each block in place (torch's "regional compilation"), or the whole of a network that names no blocks.

    Blocks that are alike share their compiled code, so compiling takes as long for 40 layers as for one. Names of
    parameters stay. The rows of a batch are a dynamic dimension from the second size on, so a last short batch is not
    compiled anew each time. Mixtures of experts stay as they are: how many positions each expert gets is another number
    in every step.
    """
    for part in repeated_blocks(network) or [network]:
        for mixture in _mixtures(part):
            mixture.forward = torch.compiler.disable(mixture.forward)  # type: ignore[method-assign]
        part.compile()


def is_compiled(network: nn.Module) -> bool:
    """Whether `compile_blocks` has been here."""
    return any(getattr(part, "_compiled_call_impl", None) is not None for part in network.modules())


def recompute_blocks(network: nn.Module, every: int) -> None:
    """Lets every n-th block keep only its input, and compute the rest anew in the backward pass (Chen et al. 2016,
    "Training Deep Nets with Sublinear Memory Cost"). Gradients stay the same to the bit, dropout included."""
    for block in repeated_blocks(network)[every - 1 :: every]:
        assert not getattr(block, "recomputed", False)
        block.forward = partial(_recomputed, block.forward)
        block.recomputed = True  # type: ignore[assignment]


def _recomputed(forward: Callable[..., Any], *args: Any) -> Any:
    # without gradients there is nothing to save, and a cache must not be told its keys twice
    cached = [argument for argument in args if getattr(argument, "cache", None) is not None]
    return checkpoint(forward, *args, use_reentrant=False) if torch.is_grad_enabled() and not cached else forward(*args)


def _mixtures(network: nn.Module) -> list[MixtureOfExperts]:
    return [module for module in network.modules() if isinstance(module, MixtureOfExperts)]
