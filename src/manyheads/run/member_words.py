"""What a command line leaves unsaid about the members of a mixture: the head of each, and the network of all.

A yaml of a task names, by overrides, the head, the network and what else the task takes alone. Under a member they would
still be those of the whole run, the last member's winning. So they are read here and said as words of the command line,
which win over any yaml: head and data as the member's own, the network and the tokenizer where all members take the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from manyheads.run.composer import Composer

_MEMBER = re.compile(r"(?:.*\.)?members\.(\w+)(?:\.(head|data))?")
_OWN = ("head", "data")
_SHARED = ("model", "tokenizer")


class _Said(NamedTuple):
    """What is said about members, by the command line or a yaml."""

    tasks: dict[str, str]  # member -> the choice of its task
    parts: set[tuple[str, str]]  # (member, head or data) that are chosen


def member_words(composer: Composer, overrides: Sequence[str]) -> list[str]:
    """The words to add to a command line that names members; [] where there are none."""
    parsed = composer.parse(overrides)
    chosen = {o.key_or_group: o.value() for o in parsed if not o.package}
    said = _Said({}, set())
    yamls = [f"{group}/{chosen[group]}" for group in ("task", "experiment") if isinstance(chosen.get(group), str)]
    defaults = [default for path in yamls for default in _defaults(composer, path)]
    for default in defaults:
        _note(said, default.package, _group(default) or "task", default.value if _group(default) else default.path)
    for override in parsed:
        _note(said, override.package, override.key_or_group, override.value())
    if not said.tasks:
        return []
    # the head that the yaml of mixture names is the one that is said here
    given = {*chosen, *({_group(default) for default in defaults if _is_override(default)} - {"head"})}
    alone: dict[str, Any] = {group: _value(_defaults(composer, composer.verb), group) for group in (*_OWN, *_SHARED)}
    taken = {member: _taken(composer, task) for member, task in said.tasks.items()}
    words = [
        f"+{part}@task.members.{name}.{part}={found.get(part, alone[part])}"
        for name, found in taken.items()
        for part in _OWN
        if (name, part) not in said.parts and (part == "head" or part in found)
    ]
    run: dict[str, Any] = {"head": "members"}
    for group in sorted({group for found in taken.values() for group in found} - {"head"}):
        wanted = {found.get(group, alone[group]) for found in taken.values()}
        run[group] = wanted.pop() if group in _SHARED and len(wanted) == 1 else alone[group]
    return words + [f"{group}={choice}" for group, choice in run.items() if group not in given]


def _note(said: _Said, package: str | None, group: str, choice: Any) -> None:
    found = _MEMBER.fullmatch(package or "")
    if found and found[2]:
        said.parts.add((found[1], found[2]))
    elif found and group == "task" and isinstance(choice, str):
        said.tasks[found[1]] = choice


def _taken(composer: Composer, task: str) -> dict[str, str]:
    """What a task's yaml names for the run, or one that it is made of: group -> choice."""
    found: dict[str, str] = {}
    for default in _defaults(composer, f"task/{task}"):
        group = _group(default)
        if group in (*_OWN, *_SHARED) and _is_override(default):
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
