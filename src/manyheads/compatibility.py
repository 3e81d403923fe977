"""Network x head x task: whether they go together, found out before any data is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads.build import CONF_DIR, build, target_of
from manyheads.callbacks.build import check_monitor
from manyheads.errors import UserError, check_range
from manyheads.model.regions import check_blocks

PLACEHOLDER_VOCABULARY = 1024


def check(cfg: DictConfig, choices: dict[str, str], allow: Iterable[str] = ()) -> nn.Module:
    """Raises UserError when task, head and network do not go together, naming the ones that would work.

    The network, which is returned, is built without memory (on torch's meta device), so that a width that does not
    divide is found before any data is read.
    """
    task = target_of(cfg.task, "task", allow)
    head = target_of(cfg.head, "head", allow)
    names = {group: choices.get(group, "custom") for group in ("task", "head", "model")}
    heads: frozenset[str] = getattr(task, "heads", frozenset())
    if head.__name__ not in heads:
        fitting = _choices("head", lambda found: found.__name__ in heads)
        raise UserError(
            f"head={names['head']} does not fit task={names['task']}. Set head={' or head='.join(fitting)}."
        )
    network = check_shape(cfg, allow)
    kind, kinds = getattr(network, "kind", "of no known kind"), getattr(head, "kinds", frozenset())
    if kind not in kinds:
        fitting = _choices("model", lambda found: getattr(found, "kind", None) in kinds)
        raise UserError(
            f"model={names['model']} is {kind}, and head={names['head']} needs {' or '.join(sorted(kinds))}. "
            f"Set model={' or model='.join(fitting)}."
        )
    check_monitor(cfg.callbacks.monitor or task.monitor, scores_of(task))  # type: ignore[attr-defined]
    check_blocks(network, cfg.get("activation_checkpointing"), cfg.get("compile", False))
    build(cfg.optim, "optim", allow=allow, module=network)
    return network


def scores_of(task: Any) -> tuple[Any, ...]:
    """The metrics of a task, of losses and of outputs."""
    return (*task.metrics, *task.output_metrics)


def check_shape(cfg: DictConfig, allow: Iterable[str] = ()) -> nn.Module:
    """Builds the network on the meta device, holds the rows' length to its positions, and returns it."""
    with torch.device("meta"):
        network = build(cfg.model, "model", allow=allow, vocab_size=PLACEHOLDER_VOCABULARY)
    check_length(cfg, network)
    return network


def check_length(cfg: DictConfig, network: Any) -> None:
    """Raises UserError when rows are longer than the network has positions."""
    longest = getattr(network, "max_positions", None)
    for name in ("seq_len", "max_tokens"):
        length = cfg.task.get(name)
        if length is None or longest is None:
            continue
        check_range(f"task.{name}", length, 1)
        if length > longest:
            raise UserError(
                f"task.{name}={length} is longer than the network's positions. Set task.{name}={longest} or less"
                + (
                    f": a resumed run keeps model.max_positions={longest}."
                    if cfg.get("resume")
                    else f", or model.max_positions={length}."
                )
            )


def _choices(group: str, fits: Any) -> list[str]:
    """The yamls of a group whose target fits."""
    found = []
    for path in sorted((CONF_DIR / group).glob("*.yaml")):
        node = OmegaConf.load(path)
        if isinstance(node, DictConfig) and "_target_" in node and fits(target_of(node, group)):
            found.append(path.stem)
    return found
