"""What a command line leaves unsaid about the members of a mixture: the head of each, and the network of all.

A yaml of a task names, by overrides, the head and the network that the task takes alone. Under a member they would still be
those of the whole run, the last member's winning. So they are read here and said as words of the command line, which win
over any yaml.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from manyheads.run.composer import Composer

_MEMBER = re.compile(r"(?:.*\.)?members\.(\w+)(?:\.(head))?")
_TAKEN = ("head", "model")


class _Said(NamedTuple):
    """What is said about members, by the command line or a yaml."""

    tasks: dict[str, str]  # member -> the choice of its task
    heads: set[str]  # members whose head is chosen


def member_words(composer: Composer, overrides: Sequence[str]) -> list[str]:
    """The words to add to a command line that names members; [] where there are none."""
    parsed = composer.parse(overrides)
    chosen = {o.key_or_group: o.value() for o in parsed if not o.package and isinstance(o.value(), str)}
    said = _Said({}, set())
    defaults = [
        default for group in ("task", "experiment") for default in _defaults(composer, f"{group}/{chosen.get(group)}")
    ]
    for default in defaults:
        _note(said, default.package, _group(default) or "task", default.value if _group(default) else default.path)
    for override in parsed:
        _note(said, override.package, override.key_or_group, override.value())
    if not said.tasks:
        return []
    alone = {group: _value(_defaults(composer, composer.verb), group) for group in _TAKEN}
    taken = {member: alone | _taken(composer, task) for member, task in said.tasks.items()}
    words = [f"+head@task.members.{name}.head={of['head']}" for name, of in taken.items() if name not in said.heads]
    models = {of["model"] for of in taken.values()}
    given = {override.key_or_group for override in parsed if not override.package}
    given |= {_group(default) for default in defaults if _is_override(default)} - {
        "head"
    }  # that of mixture.yaml itself
    common = {"head": "members", "model": models.pop() if len(models) == 1 else alone["model"]}
    return words + [f"{group}={choice}" for group, choice in common.items() if group not in given]


def _note(said: _Said, package: str | None, group: str, choice: Any) -> None:
    found = _MEMBER.fullmatch(package or "")
    if found and found[2]:
        said.heads.add(found[1])
    elif found and group == "task" and isinstance(choice, str):
        said.tasks[found[1]] = choice


def _taken(composer: Composer, task: str) -> dict[str, str]:
    """The head and the network that a task's yaml names, or one that it is made of."""
    found: dict[str, str] = {}
    for default in _defaults(composer, f"task/{task}"):
        group = _group(default)
        if group in _TAKEN and _is_override(default):
            found[group] = default.value
        elif not group and not default.package and not default.is_self():
            found = _taken(composer, default.path) | found
    return found


def _defaults(composer: Composer, path: str) -> list[Any]:
    """The defaults list of a yaml; [] where there is none, which Hydra tells."""
    found = composer.loader.repository.load_config(path)
    return [] if found is None else list(found.defaults_list or ())


def _group(default: Any) -> str:
    return (getattr(default, "group", None) or "").lstrip("/")


def _value(defaults: Sequence[Any], group: str) -> Any:
    return next((default.value for default in defaults if _group(default) == group), None)


def _is_override(default: Any) -> bool:
    return bool(getattr(default, "override", False))
