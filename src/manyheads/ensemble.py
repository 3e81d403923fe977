"""Runs that are asked together: their parts, read from checkpoints, and held to what can be averaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import nn

from manyheads.errors import UserError, written
from manyheads.head.base import Head
from manyheads.members import member_of
from manyheads.model.ensemble import Ensemble
from manyheads.rebuild import fill, rebuild
from manyheads.run.checkpoint import find_checkpoint, read_checkpoint, read_tokenizer
from manyheads.run.folder import parse_config
from manyheads.tokenizer.base import Tokenizer


class Saved(NamedTuple):
    """What a checkpoint holds, rebuilt."""

    network: nn.Module
    head: Head
    tokenizer: Tokenizer
    config: DictConfig
    checkpoint: Path
    record: dict[str, Any]  # what else it says about the run


def read_saved(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    allow: Iterable[str] = (),
    member: str | None = None,
    key: str = "run",
) -> Saved:
    """The parts of a run folder or a checkpoint file, on the CPU; with `member`, those of that task. Raises UserError."""
    file = find_checkpoint(path, checkpoint, key)
    content = read_checkpoint(file)
    record = content["manyheads"]
    config, _ = parse_config(record["config"], f"the config in {file}")
    config["allow"] = list(allow)
    for group in ("model", "head"):
        if group not in config:
            raise UserError(f"the config in {file} names no {group}: it is not that of a whole run.")
    tokenizer = read_tokenizer(content, file)
    network, head = rebuild(config, tokenizer, allow)
    fill(content, file, network, head)
    if member is not None:
        config, head = member_of(config, member, "load"), head.of(member)
    return Saved(network, head, tokenizer, config, file, record)


def runs_of(value: Any) -> list[str]:
    """The runs that `ensemble=` names: one, or a list. Raises UserError for what is neither."""
    runs = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(runs, Sequence) or not all(isinstance(run, str | Path) and str(run) for run in runs):
        raise UserError(f"ensemble={written(value)}: set a list of runs, such as ensemble=[RUN,RUN].")
    return [str(run) for run in runs]


def together(network: nn.Module, head: Head, tokenizer: Tokenizer, others: Sequence[Saved]) -> tuple[Ensemble, Head]:
    """A network and a head that average those of a run with those of others. Raises UserError for a run that learned other
    tokens, another objective or other classes."""
    for other in others:
        if other.tokenizer.fingerprint != tokenizer.fingerprint:
            raise UserError(
                f"ensemble={other.checkpoint}: its tokenizer is not that of the first run, so that their tokens mean different "
                "texts. Name runs of the same tokenizer and data."
            )
    ensemble = Ensemble([network, *(other.network for other in others)], [head, *(other.head for other in others)])
    return ensemble.eval(), ensemble.head().eval()
