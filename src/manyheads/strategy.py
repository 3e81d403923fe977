"""How several devices work together: ours and Lightning's strategies by name, with the arguments of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, Strategy, StrategyRegistry
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from manyheads.errors import UserError, did_you_mean
from manyheads.fully_sharded import FullySharded
from manyheads.signature import check_settings, parameters
from manyheads.tensor_parallel import TensorParallel

OWN: dict[str, type[Strategy]] = {"fsdp": FullySharded, "tensor_parallel": TensorParallel}
"""Besides Lightning's, or in the place of one of the same name; each device holds a part of the weights."""

_WRAPPED = {DDPStrategy: DistributedDataParallel}
"""Whose arguments a strategy takes besides its own."""


def make_strategy(name: str, options: Mapping[str, Any] | None) -> str | Strategy:
    """What Lightning's Trainer takes as its strategy: the name alone, or the strategy built with `options`.

    `options` are keyword arguments of the strategy's class, such as {cpu_offload: true} of fsdp, which keeps weights,
    gradients and optimizer state in the CPU's memory (Ren et al. 2021, "ZeRO-Offload").
    Raises UserError for a name that is not there, and an argument that the class does not have.
    """
    known = ["auto", *OWN, *(other for other in StrategyRegistry.available_strategies() if not _is_replaced(other))]
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(
            f"trainer.strategy={name} is no strategy of Lightning.{hint} Set auto, ddp, fsdp, tensor_parallel or another."
        )
    if name == "auto":
        if options:
            raise UserError(
                f"trainer.strategy_options={dict(options)} belongs to a strategy that is named: set trainer.strategy too."
            )
        return name
    if name in OWN:
        return build_strategy(OWN[name], options or {})
    entry = StrategyRegistry[name]
    return build_strategy(entry["strategy"], {**entry["init_params"], **options}) if options else name


def build_strategy(kind: type[Strategy], options: Mapping[str, Any]) -> Strategy:
    """The strategy with these arguments, which are bound to its signature first. Raises UserError."""
    own = parameters(kind)
    inner = parameters(_WRAPPED[kind]) if kind in _WRAPPED else {}
    for name, value in options.items():
        if name not in own and name not in inner:
            raise UserError(
                f"trainer.strategy_options.{name}={value} is no argument of {kind.__name__}."
                f"{did_you_mean(name, own)} It has: {', '.join(own)}."
            )
    check_settings(kind, {name: value for name, value in options.items() if name in own}, "trainer.strategy_options")
    return kind(**options)


def check_network(strategy: Strategy, network: nn.Module, *, compiled: bool) -> None:
    """Raises UserError for a network that the strategy's devices cannot compute together."""
    if isinstance(strategy, TensorParallel):
        strategy.check(network, compiled=compiled)


def expect_unused(strategy: Strategy) -> None:
    """Lets a batch use some of the parameters: DDP otherwise waits for the gradient of each (FSDP2 does not)."""
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs["find_unused_parameters"] = True


def _is_replaced(name: str) -> bool:
    """Whether it is a name of Lightning's FSDP1."""
    kind = StrategyRegistry[name]["strategy"]
    return isinstance(kind, type) and issubclass(kind, FSDPStrategy)
