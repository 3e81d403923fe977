"""Network x head x task: whether they go together, found out before any data is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads.build import CONF_DIR, build, target_of
from manyheads.callbacks.build import check_monitor
from manyheads.errors import UserError, check_range
from manyheads.head.word import WORDS_ALONE
from manyheads.members import members_of, named, naming, places_of
from manyheads.metric.members import metrics_of
from manyheads.model.regions import check_blocks
from manyheads.signature import parameters

PLACEHOLDER_VOCABULARY = 1024


class Refusal(NamedTuple):
    """Why three things do not go together.

    Attributes:
        text: in words, as the end of a sentence whose beginning says of which kind the network is, if it is that.
        by_kind: it is the kind of network that does not fit.
    """

    text: str
    by_kind: bool


def check(cfg: DictConfig, choices: dict[str, str], allow: Iterable[str] = ()) -> nn.Module:
    """Raises UserError when task, head and network do not go together, naming the ones that would work.

    The network, which is returned, is built without memory (on torch's meta device), so that a width that does not divide is found
    before any data is read.
    """
    task: Any = target_of(cfg.task, "task", allow)
    network = check_shape(cfg, allow)
    _check_parts(cfg, choices, kind_of(network), allow)
    members = {name: target_of(member.task, "task", allow) for name, member in members_of(cfg).items()}
    scores = [one for found in metrics_of(members) for one in found] if members else scores_of(task)
    check_monitor(cfg.callbacks.monitor or task.monitor, scores)
    check_blocks(network, cfg.get("activation_checkpointing"), cfg.get("compile", False))
    build(cfg.optim, "optim", allow=allow, module=network)
    return network


def _check_parts(cfg: DictConfig, choices: dict[str, str], kind: str, allow: Iterable[str]) -> None:
    """Raises UserError when task, head and network do not go together; of a mixture, those of a member."""
    task: Any = target_of(cfg.task, "task", allow)
    head = target_of(cfg.head, "head", allow)
    names = {group: choices.get(group, "custom") for group in ("task", "head", "model")}
    if found := refusal(task, head, kind, task_name=names["task"], head_name=names["head"]):
        what = f"model={names['model']} is {kind}, and {found.text}" if found.by_kind else found.text
        raise UserError(f"{what}. Set {_remedy(task, head, kind, names['task'])}.")
    _check_members(cfg, choices, kind, allow)


def _check_members(cfg: DictConfig, choices: dict[str, str], kind: str, allow: Iterable[str]) -> None:
    pairs: dict[str, tuple[Any, Any]] = {
        name: (target_of(one.task, "task", allow), target_of(one.head, "head", allow))
        for name, one in members_of(cfg).items()
    }
    found: dict[str, Refusal] = {}
    for name, (task, head) in pairs.items():
        chosen = {group: choices.get(f"{group}@{place}", "custom") for group, place in places_of(name).items()}
        if refused := refusal(task, head, kind, task_name=chosen["task"], head_name=chosen["head"]):
            found[name] = refused
            if not refused.by_kind:
                heads = [f"head={other}" for other, known in classes("head").items() if known.__name__ in task.heads]
                raise UserError(named(f"{refused.text}. Set {' or '.join(heads)}.", name, own_data=True))
    for name, refused in found.items():
        model = f"model={choices.get('model', 'custom')}"
        raise UserError(f"task.members.{name}: {model} is {kind}, and {refused.text}. Set {_remedy_of(pairs)}.")


def _remedy_of(members: Mapping[str, tuple[Any, Any]]) -> str:
    """The networks that go with all members; else what each goes with."""
    kinds = kinds_of_models()
    fits = {
        name: [model for model, kind in kinds.items() if refusal(task, head, kind) is None]
        for name, (task, head) in members.items()
    }
    if common := [model for model in kinds if all(model in models for models in fits.values())]:
        return " or ".join(f"model={model}" for model in common)
    needs = "; ".join(f"{name} goes with {' '.join(models) or 'none'}" for name, models in fits.items())
    return f"members that go with one network, for none goes with all of these: {needs}"


def refusal(task: Any, head: Any, kind: str, *, task_name: str = "", head_name: str = "") -> Refusal | None:
    """Why a task and a head (their classes) and a network of some kind do not go together; None where they do."""
    if head.__name__ not in getattr(task, "heads", frozenset()):
        return Refusal(f"head={head_name} does not fit task={task_name}", by_kind=False)
    kinds = getattr(head, "kinds", frozenset())
    if kind not in kinds:
        needs = f"head={head_name} needs {' or '.join(sorted(kinds))}"
        because = getattr(head, "refuses", {}).get(kind, WORDS_ALONE.get(kind))
        return Refusal(f"{needs}: {because}" if because else needs, by_kind=True)
    if because := getattr(task, "refuses", {}).get(kind):
        return Refusal(f"task={task_name} has no use for that: {because}", by_kind=True)
    return None


def kind_of(network: Any) -> str:
    """The kind of a network."""
    return getattr(network, "kind", "of no known kind")


def classes(group: str, dirs: Iterable[Path] = (CONF_DIR,), allow: Iterable[str] = ()) -> dict[str, Any]:
    """What each choice of a group builds, over folders of yamls."""
    return {name: target_of(node, group, allow) for name, node in _nodes(group, dirs).items()}


def kinds_of_models(dirs: Iterable[Path] = (CONF_DIR,), allow: Iterable[str] = ()) -> dict[str, str]:
    """The kind of network that each choice of model is."""
    found = {}
    for name, node in _nodes("model", dirs).items():
        kind = getattr(target_of(node, "model", allow), "kind", None)
        if not isinstance(kind, str):  # only the network that its settings make has one
            with torch.device("meta"):
                kind = kind_of(build(node, "model", allow=allow, vocab_size=PLACEHOLDER_VOCABULARY))
        found[name] = kind
    return found


def own_model(task_name: str) -> str | None:
    """The network that a task takes by itself; None for a task that is no choice."""
    for path in (CONF_DIR / "task" / f"{task_name}.yaml", CONF_DIR / "train.yaml"):
        if not path.is_file():
            return None
        node = OmegaConf.load(path)
        for entry in node.get("defaults", []) if isinstance(node, DictConfig) else ():
            for key, choice in entry.items() if isinstance(entry, DictConfig) else ():
                if str(key).removeprefix("override /").partition("@")[0] == "model":
                    return str(choice)
    return None


def _remedy(task: Any, head: Any, kind: str, task_name: str) -> str:
    """The choices that would work in the place of one of the three, or else of two; the task's own network first."""

    def fits(one: Any, other: Any, of: str) -> bool:
        return refusal(one, other, of) is None

    tasks, heads, models = classes("task"), classes("head"), kinds_of_models()
    own = own_model(task_name)
    models = dict(sorted(models.items(), key=lambda entry: entry[0] != own))
    ways = [
        [f"head={name}" for name, other in heads.items() if fits(task, other, kind)],
        [f"model={name}" for name, of in models.items() if fits(task, head, of)],
        [f"task={name}" for name, one in tasks.items() if fits(one, head, kind)],
    ]
    if not any(ways[:2]):  # two of them have to go
        for name, other in heads.items():
            fitting = [f"model={model}" for model, of in models.items() if fits(task, other, of)]
            ways.insert(0, [f"head={name} with {' or '.join(fitting)}"] if fitting else [])
    if not ways[0] and not ways[-1]:
        pairs = ((n, next((h for h in heads if fits(one, heads[h], kind)), "")) for n, one in tasks.items())
        ways[-1] = [f"task={name} head={other}" for name, other in pairs if other and tasks[name] is not task]
    return ", or ".join(" or ".join(way) for way in ways if way)


def scores_of(task: Any) -> tuple[Any, ...]:
    """The metrics of a task, of losses and of outputs."""
    return (*task.metrics, *task.output_metrics)


def check_shape(cfg: DictConfig, allow: Iterable[str] = ()) -> nn.Module:
    """Builds the network on the meta device, holds the rows' length to its positions, and returns it."""
    with torch.device("meta"):
        network = build(cfg.model, "model", allow=allow, vocab_size=PLACEHOLDER_VOCABULARY)
    check_length(cfg, network)
    check_carry(cfg, network)
    for name, member in members_of(cfg).items():
        with naming(name, cfg):
            check_length(member, network)
            if member.task.get("carry"):
                raise UserError("task.carry=true: the steps of a mixture are of its members in turn. Set it to false.")
    return network


def check_carry(cfg: DictConfig, network: Any) -> None:
    """Raises UserError when rows are to go on with a state that the network does not have."""
    if not cfg.task.get("carry") or "carry" not in parameters(form_of(cfg)) or getattr(network, "carries", False):
        return
    able = [f"model={name}" for name, known in classes("model").items() if getattr(known, "carries", False)]
    raise UserError(
        f"task.carry=true: rows go on with the state of the row before, and a {type(network).__name__} that is "
        f"{kind_of(network)} keeps none. Set {' or '.join(able)}, or task.carry=false."
    )


def check_length(cfg: DictConfig, network: Any) -> None:
    """Raises UserError when rows are longer than the network has positions."""
    longest = getattr(network, "max_positions", None)
    known = parameters(form_of(cfg))
    for name in ("seq_len", "max_tokens"):
        length = cfg.task.get(name)
        if length is None or longest is None or name not in known:
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


def form_of(cfg: DictConfig) -> Any:
    """The class of the task; of a task with a form for each head, that of the form."""
    allow = list(cfg.get("allow", []))
    task: Any = target_of(cfg.task, "task", allow)
    reads = getattr(target_of(cfg.head, "head", allow), "reads", None)
    return getattr(task, "by_reads", {}).get(reads, task)


def _nodes(group: str, dirs: Iterable[Path]) -> dict[str, DictConfig]:
    """The yamls of a group that name something to build."""
    found = {}
    for path in sorted(path for folder in dirs for path in (folder / group).glob("*.yaml")):
        node = OmegaConf.load(path)
        if isinstance(node, DictConfig) and "_target_" in node:
            node.pop("defaults", None)
            found[path.stem] = node
    return dict(sorted(found.items()))
