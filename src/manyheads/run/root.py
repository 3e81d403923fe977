"""The keys at the top of a config that are no group: which values each admits."""

from __future__ import annotations

import typing
from typing import Any, TypedDict

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import UserError, check_count, check_range
from manyheads.signature import check_value


class RootKeys(TypedDict, total=False):
    """The keys of conf/train.yaml, conf/eval.yaml and conf/predict.yaml; what each is for stands there."""

    seed: int
    name: str | None
    tags: list[str]
    resume: str | None
    init: str | None
    embedding_from: str | None
    run: str | None
    checkpoint: str | None
    baselines: bool
    compile: bool
    activation_checkpointing: int | None
    deterministic: bool
    ensemble: str | list[str]
    stride: int | None
    member: str | None
    device: str | None
    to: str | None
    allow: list[str]


GROUPS = ("task", "data", "tokenizer", "model", "head", "optim", "trainer", "callbacks", "logger")
"""The groups that every config has."""


def check_root(cfg: DictConfig) -> None:
    """Holds the keys at the top to their types; a number where a text belongs becomes one, as in `name=3`.

    Raises UserError for a value of another type, and for a group that is not there.
    """
    for group in GROUPS:
        if group not in cfg:
            raise UserError(f"{group} is not set: set {group}=NAME. `manyheads train --help` lists the choices.")
    hints = typing.get_type_hints(RootKeys)
    given = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [key for key in hints if key in cfg]), resolve=True)
    assert isinstance(given, dict)
    values = {str(key): _as_text(hints[str(key)], value) for key, value in given.items()}
    for key, value in values.items():
        check_value(key, value, hints[key])
    if values.get("activation_checkpointing") is not None:
        check_count("activation_checkpointing", values["activation_checkpointing"])
    check_range("seed", values["seed"], 0, 2**32 - 1)
    for key, value in values.items():
        cfg[key] = value


def _as_text(hint: Any, value: Any) -> Any:
    if isinstance(value, list) and typing.get_origin(hint) is list:
        return [_as_text(typing.get_args(hint)[0], item) for item in value]
    texts = hint is str or str in typing.get_args(hint)
    return str(value) if texts and isinstance(value, int | float) and not isinstance(value, bool) else value
