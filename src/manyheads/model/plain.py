"""A network without what torch does around each call of a module, for decoding, whose calls are many and small."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from manyheads.model.attention import Attention, CrossAttention
from manyheads.model.block import (
    ParallelBlock,
    ParallelOneNormBlock,
    PostNormBlock,
    PostNormCrossBlock,
    PreNormBlock,
    PreNormCrossBlock,
)
from manyheads.model.encoder_layers import EncoderLayers
from manyheads.model.feed_forward import FeedForward
from manyheads.model.norm import RMSNorm
from manyheads.model.plain_parts import JointAttention, Linear, MirroredNorm
from manyheads.model.positions import Alibi, Learned, NoPositions, Rotary, Sinusoidal
from manyheads.model.relative_positions import RelativePositions

BLOCKS = (
    PreNormBlock,
    PostNormBlock,
    ParallelBlock,
    ParallelOneNormBlock,
    PreNormCrossBlock,
    PostNormCrossBlock,
)
POSITIONS = (Rotary, Learned, Sinusoidal, Alibi, NoPositions, RelativePositions)
LEAVES = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.Identity, RMSNorm)
KNOWN: frozenset[type[nn.Module]] = frozenset(
    {*BLOCKS, *POSITIONS, *LEAVES, Attention, CrossAttention, FeedForward, EncoderLayers}
)
"""Whose `forward` asks nothing of a module but its parameters, its parts and its settings."""


def plain(module: nn.Module, known: frozenset[type[nn.Module]] = KNOWN) -> Any:
    """What computes the same as `module`, by the same code: its `forward`, bound to an object that is no module.

    A module looks for hooks at each call, and for each parameter and part in tables of its own; half of the time that a
    small network takes for one token goes there. Lists of modules become lists, and some parts become what computes the
    same in fewer calls (`plain_parts`). A module of another class than those known, one with hooks, and one that is
    compiled stays as it is. Serves until a weight or the mode is changed.
    """
    if type(module) is nn.ModuleList:
        return [plain(part, known) for part in module]
    if type(module) not in known or _is_watched(module):
        return module
    return _in_fewer_calls(module, _bound(module, known))


def _in_fewer_calls(module: nn.Module, bound: Any) -> Any:
    """The part that stands for a module in decoding; `bound` where there is none."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    if type(module) is nn.Linear:
        return Linear(module.weight, module.bias)
    if type(module) is RMSNorm and on_cpu:
        return MirroredNorm(module, bound)
    if type(module) is Attention and JointAttention.suits(module) and not any(map(_is_watched, module.children())):
        return JointAttention(module, bound)
    return bound


def _bound(module: nn.Module, known: frozenset[type[nn.Module]]) -> Any:
    made: Any = _class(type(module))()
    tables = ("_parameters", "_buffers", "_modules")
    made.__dict__.update({name: value for name, value in vars(module).items() if name not in tables})
    made.__dict__.update({**module._parameters, **module._buffers})
    made.__dict__.update({name: None if part is None else plain(part, known) for name, part in module._modules.items()})
    return made


def _is_watched(module: nn.Module) -> bool:
    """Whether a call is more than `forward` of its class."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or module._compiled_call_impl is not None or "forward" in vars(module)


@functools.cache
def _class(kind: type[nn.Module]) -> type:
    """A class with the methods that `kind` adds to nn.Module."""
    members: dict[str, Any] = {}
    for base in reversed(kind.__mro__[: kind.__mro__.index(nn.Module)]):
        members |= {name: value for name, value in vars(base).items() if not name.startswith(("__", "_abc_"))}
    return type(kind.__name__, (), {**members, "__call__": kind.forward})
