"""The members of a mixture (`task=mixture`) in a config: each as the config of a run of its own would be."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads.build import check_tree, target_of
from manyheads.errors import UserError, written
from manyheads.task.mixture import Mixture, check_names, member_weights

PARTS = ("head", "data")
"""What a member has besides the settings of its task."""

_TARGET = f"{Mixture.__module__}.{Mixture.__qualname__}"
_KEY = re.compile(r"(?<![\w.@+/-])(task|head|data)([.=])(?=[A-Za-z_{])")


def is_mixture(cfg: DictConfig) -> bool:
    """Whether a config is of several tasks."""
    return OmegaConf.select(cfg, "task._target_") == _TARGET


def members_of(cfg: DictConfig) -> dict[str, DictConfig]:
    """The config of each member by name, with the run's network, and its data where the member has none of its own; {}
    where there is a single task. Raises UserError for a member that is none."""
    if not is_mixture(cfg):
        return {}
    whole: Any = OmegaConf.to_container(cfg, resolve=False)
    shared = {key: value for key, value in whole.items() if key not in ("task", "head", "hydra")}
    return {
        str(name): OmegaConf.create({**shared, **_parts(str(name), node)})
        for name, node in (whole["task"].get("members") or {}).items()
    }


def _parts(name: str, node: Any) -> dict[str, Any]:
    """The task of a member, its head, and its data if it has some. Raises UserError."""
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(
            f"task.members.{name}={written(node)} names no task. Choose one with +task@task.members.{name}=NAME."
        )
    if node["_target_"] == _TARGET:
        raise UserError(f"task.members.{name} is a mixture itself. Put its members beside the others.")
    if not isinstance(node.get("head"), Mapping):
        raise UserError(f"task.members.{name} has no head. Choose one with +head@task.members.{name}.head=NAME.")
    task = {key: value for key, value in node.items() if key not in PARTS}
    return {"task": task, **{part: node[part] for part in PARTS if part in node}}


def check_settings_of(cfg: DictConfig, allow: Iterable[str] = ()) -> None:
    """Binds every node of a config to its target's signature, and those of members each as if it were alone. Raises UserError."""
    members = members_of(cfg)
    check_tree(without_members(cfg), allow)
    if is_mixture(cfg):
        check_names(members)
        if cfg.task.weights is not None:
            member_weights(cfg.task.weights, members)
    for name, member in members.items():
        with naming(name, cfg):
            check_tree(OmegaConf.masked_copy(member, ["task", *PARTS]), allow)


def check_single_task(cfg: DictConfig) -> None:
    """Raises UserError for a mixture, which has no batches of its own that could be counted with."""
    if is_mixture(cfg):
        raise UserError(
            "task=mixture: a member's batch costs what its task's does. Set task, head and model to a member's."
        )


def without_members(cfg: DictConfig) -> DictConfig:
    """The config with a task that has no member."""
    if not is_mixture(cfg):
        return cfg
    made = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    assert isinstance(made, DictConfig)
    made.task.members = {}
    return made


def head_classes(cfg: DictConfig, allow: Iterable[str] = ()) -> dict[str, Any]:
    """The class of each member's head by the member's name; of a single task's head by an empty one."""
    members = members_of(cfg) or {"": cfg}
    return {name: target_of(member.head, "head", allow) for name, member in members.items()}


@contextlib.contextmanager
def naming(name: str, cfg: DictConfig) -> Iterator[None]:
    """Within it a UserError names the keys of that member, as they are typed."""
    try:
        yield
    except UserError as error:
        raise UserError(named(str(error), name, own_data="data" in cfg.task.members[name])) from error


def named(text: str, name: str, *, own_data: bool) -> str:
    """A text about a task of its own, such as `task.batch_size=0: ...`, as one about a member: its keys are
    `task.members.NAME.batch_size` and, where a choice is named, `+task@task.members.NAME`."""
    places = places_of(name)

    def own(found: re.Match[str]) -> str:
        group, sign = found[1], found[2]
        if sign == "=":
            return f"+{group}@{places[group]}="
        return f"{places[group]}." if own_data or group in ("task", "head") else found[0]

    said = _KEY.sub(own, text)
    return said if places["task"] in said else f"{places['task']}: {said}"


def places_of(name: str) -> dict[str, str]:
    """Where the task of a member, its head and its data are in the config, by group."""
    place = f"task.members.{name}"
    return {"task": place, "head": f"{place}.head", "data": f"{place}.data"}


def data_choice(cfg: DictConfig, choices: Mapping[str, str]) -> str:
    """The choice of data; of a mixture the different ones of its members, with plus signs between them."""
    names = [
        choices.get(f"data@task.members.{name}.data", "custom") if "data" in cfg.task.members[name] else choices["data"]
        for name in members_of(cfg)
    ]
    return " + ".join(dict.fromkeys(names)) or choices.get("data", "custom")


def member_of(cfg: DictConfig, member: str | None, verb: str) -> DictConfig:
    """The config of the member that `member=` names; that of a single task's run where none is named. Raises UserError."""
    members = members_of(cfg)
    if member is None and not members:
        return cfg
    if member is None:
        raise UserError(f"{verb}: this run has several tasks. Set member={' or member='.join(members)}.")
    if not members:
        raise UserError(f"member={member}: this run has a single task. Leave it out.")
    if member not in members:
        raise UserError(f"member={member}: this run has none of that name. Set member={' or member='.join(members)}.")
    return members[member]
