"""What is found out about a training's config before data is read."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from manyheads import compatibility, ranks
from manyheads.build import build, check_installed, complete
from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.members import check_settings_of, is_mixture
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
    budget(cfg.trainer)
    network = compatibility.check(cfg, choices, cfg.allow)
    made = build(cfg.trainer, "trainer", allow=cfg.allow, folder=Path())
    devices = made.world_size
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
