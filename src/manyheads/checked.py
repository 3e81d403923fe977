"""What is found out about a training's config before data is read."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads import compatibility, ranks
from manyheads.build import build, check_installed, complete, target_of
from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.members import check_settings_of, is_mixture
from manyheads.optim.counting import counting
from manyheads.rebuild import assemble
from manyheads.run.root import check_root
from manyheads.strategy import OWN, check_network
from manyheads.trainer import budget


def checked(cfg: DictConfig, choices: dict[str, str]) -> tuple[DictConfig, int]:
    """The config with every default written out, and the number of devices, after all that can be found out before data
    is read."""
    check_root(cfg)
    check_start(cfg)
    check_settings_of(cfg, cfg.allow)
    cfg = complete(cfg, cfg.allow)
    settle_steps(cfg, choices)
    budget(cfg.trainer)
    network = compatibility.check(cfg, choices, cfg.allow)
    made = build(cfg.trainer, "trainer", allow=cfg.allow, folder=Path())
    devices = made.world_size
    settle_counting(cfg, choices, network)
    check_network(made.strategy, network, compiled=cfg.compile)
    check_alone(cfg, devices)
    for name, node in cfg.logger.items():
        if node:
            check_installed(node, f"logger.{name}", cfg.allow)
    return cfg, devices


def check_start(cfg: DictConfig) -> None:
    """Raises UserError for two starts at once, of which the one would overwrite a part of the other."""
    if cfg.get("init") and (words := cfg.get("embedding_from")):
        raise UserError(
            f"embedding_from={words}: init={cfg.init} brings an embedding along, with all other weights. Leave one of them out."
        )


def check_alone(cfg: DictConfig, devices: int) -> None:
    """Raises UserError for what one device with all weights must do, and for machines that nothing has started."""
    strategy = cfg.trainer.get("strategy")
    for name in ("find_lr", "find_batch_size"):
        if cfg.callbacks.get(name) and devices > 1:
            raise UserError(f"callbacks.{name}=true looks on one device, not {devices}: set trainer.devices=1.")
        if cfg.callbacks.get(name) and is_mixture(cfg):
            raise UserError(f"callbacks.{name}=true looks at the batches of one task: run it for a member alone.")
        if cfg.callbacks.get(name) and strategy in OWN:
            raise UserError(f"callbacks.{name}=true does not go with trainer.strategy={strategy}: set trainer=auto.")
    if devices == 1:
        return
    if cfg.trainer.get("num_nodes", 1) > 1 and not ranks.started():
        raise UserError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}: on each machine, start it with torchrun --nnodes "
            f"{cfg.trainer.num_nodes} --nproc-per-node DEVICES --rdzv-endpoint HOST:PORT train.py ..."
        )


def settle_steps(cfg: DictConfig, choices: dict[str, str]) -> None:
    """Takes the number of steps that a recipe has for the chosen model, unless another number is set. Raises UserError for a
    model that it does not have."""
    steps, model = cfg.trainer.get("max_steps_of"), choices.get("model", "custom")
    if steps is None:
        return
    if cfg.trainer.get("max_steps") is None and model not in steps and cfg.trainer.get("max_epochs") is None:
        raise UserError(
            f"trainer.max_steps_of has no number of steps for model={model}, only for {', '.join(map(str, steps))}. Set "
            "trainer.max_steps."
        )
    if cfg.trainer.get("max_steps") is None:
        cfg.trainer.max_steps = steps.get(model)
    cfg.trainer.max_steps_of = None


def settle_counting(cfg: DictConfig, choices: dict[str, str], network: nn.Module) -> None:
    """Lets a network that counts go through train once, whatever the number of steps. Raises UserError for what has no meaning
    then, and for an optimizer that has nothing to do with the network."""
    name, counts = choices.get("model", "custom"), hasattr(network, "count")
    optimizer = target_of(cfg.optim, "optim", cfg.allow)
    if counts is not (optimizer is counting):
        what = f"optim={choices.get('optim', 'custom')} and model={name}"
        raise UserError(
            f"{what}: it counts and has no gradient to step along. Set optim=counting, or leave optim out."
            if counts
            else f"{what}: counting steps nowhere. Set optim=muon, adamw or another."
        )
    if not counts:
        return
    epochs, streams = cfg.trainer.get("max_epochs"), bool(cfg.data.get("streaming"))
    asked = {"trainer.max_minutes": None, "callbacks.averaging": None, "callbacks.find_lr": False}
    asked |= {} if streams else {"trainer.max_tokens": None}
    for key, nothing in asked.items():
        if (value := OmegaConf.select(cfg, key)) not in (None, False):
            raise UserError(
                f"{key}={value}: model={name} counts its text in one pass. Set {key}={str(nothing).lower()}.".replace(
                    "none", "null"
                )
            )
    if epochs not in (None, 1):
        raise UserError(f"trainer.max_epochs={epochs}: model={name} would count each text {epochs} times. Set it to 1.")
    with torch.device("meta"):
        assemble(cfg, compatibility.PLACEHOLDER_VOCABULARY, cfg.allow)  # options of the head that nothing trains
    if not streams:  # of a stream nobody knows where it ends
        cfg.trainer.max_epochs, cfg.trainer.max_steps = 1, None


def check_countable(cfg: DictConfig, source: Source) -> None:
    """Raises UserError for a setting that counts in epochs, when the data is a stream."""
    if source.stream() is None:
        return
    epochs, limit = cfg.trainer.get("max_epochs"), cfg.trainer.get("limit_train_batches")
    why = "data.streaming=true: how long an epoch is comes out only at its end."
    if epochs not in (None, -1):
        raise UserError(f"trainer.max_epochs={epochs}: {why} Set trainer.max_steps, max_tokens or max_minutes instead.")
    if isinstance(limit, float):
        raise UserError(f"trainer.limit_train_batches={limit}: {why} Set a whole number of batches.")
