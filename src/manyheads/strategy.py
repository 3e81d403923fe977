"""Lightning's strategies by name, with the arguments of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, Strategy, StrategyRegistry
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from manyheads.errors import UserError, did_you_mean
from manyheads.signature import check_settings, parameters

_WRAPPED = {FSDPStrategy: FullyShardedDataParallel, DDPStrategy: DistributedDataParallel}
"""Whose arguments a strategy takes besides its own."""


def make_strategy(name: str, options: Mapping[str, Any] | None, accelerator: str) -> str | Strategy:
    """What Lightning's Trainer takes as its strategy: the name alone, or the strategy built with `options`.

    `options` are keyword arguments of the strategy's class, such as {cpu_offload: true} of fsdp, which keeps weights,
    gradients and optimizer state in the CPU's memory (Ren et al. 2021, "ZeRO-Offload").
    Raises UserError for a name that is not there, an argument that the class does not have, and a strategy that needs a
    GPU where none is used.
    """
    known = ["auto", *StrategyRegistry.available_strategies()]
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"trainer.strategy={name} is no strategy of Lightning.{hint} Set auto, ddp, fsdp or another.")
    if name == "auto":
        if options:
            raise UserError(
                f"trainer.strategy_options={dict(options)} belongs to a strategy that is named: set trainer.strategy too."
            )
        return name
    entry = StrategyRegistry[name]
    kind: type[Strategy] = entry["strategy"]
    if issubclass(kind, FSDPStrategy) and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise UserError(
            f"trainer.strategy={name} needs a GPU, and this run is on the CPU. "
            "Set trainer.strategy=auto, or trainer=gpu on a machine with one."
        )
    return build_strategy(kind, {**entry["init_params"], **options}) if options else name


def build_strategy(kind: type[Strategy], options: Mapping[str, Any]) -> Strategy:
    """The strategy with these arguments, which are bound to its signature first. Raises UserError."""
    own = parameters(kind)
    inner = [parameters(wrapped) for strategy, wrapped in _WRAPPED.items() if issubclass(kind, strategy)]
    for name, value in options.items():
        if not any(name in names for names in (own, *inner)):
            raise UserError(
                f"trainer.strategy_options.{name}={value} is no argument of {kind.__name__}."
                f"{did_you_mean(name, own)} It has: {', '.join(own)}."
            )
    check_settings(kind, {name: value for name, value in options.items() if name in own}, "trainer.strategy_options")
    return kind(**options)
