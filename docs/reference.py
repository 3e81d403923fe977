"""Writes docs/reference.md: every group, choice and setting, from the yamls and the signatures that they name.

python docs/reference.py
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf

from manyheads.build import CONF_DIR, resolve_target
from manyheads.errors import written
from manyheads.optim.schedule import Course
from manyheads.run.help import choices
from manyheads.run.root import GROUPS
from manyheads.signature import annotations_of, in_words, is_plain, parameters

PAGE = Path(__file__).with_name("reference.md")
INTRO = """\
# Every setting

`python docs/reference.py` writes this page from [conf/](../conf) and from the signatures and docstrings of what the yamls
there name. `GROUP=CHOICE` picks a yaml, `GROUP.KEY=VALUE` sets one value. A choice sets the values beside it; what it
leaves out has the default of the table below it. `null` is no value.
"""
VERBS = (("train", "python train.py"), ("eval", "python eval.py"), ("predict", "manyheads predict"))
FROM_CODE = (
    "model.vocab_size",
    "head.vocab_size",
    "head.dim",
    "callbacks.seed",
    "task.seed",
    "task.kind",
    "task.reads",
    "manyheads.task.generation.Generation.stride",
    "trainer.fixed",
)
"""Plain arguments that train() and eval() give: of all choices of a group, or of one target."""


class Setting(NamedTuple):
    """One row of a table."""

    key: str
    default: str
    values: str
    text: str


def page() -> str:
    """The whole page, as Markdown."""
    parts = [INTRO]
    for verb, command in VERBS:
        parts += [f"## Keys of `{command}`", table(root_keys(verb))]
    offered = choices([CONF_DIR])
    for group in (*GROUPS, *(name for name in offered if name not in GROUPS)):
        parts += [f"## {group}", _choice_table(group, offered[group])]
        for users, rows in by_choices(group, offered[group]).items():
            parts += [f"Settings of {' '.join(f'`{group}={name}`' for name in users)}:", table(rows)]
    return "\n\n".join(parts) + "\n"


def root_keys(verb: str) -> list[Setting]:
    """The keys of a verb's yaml that are no group, each with the comment beside it."""
    lines = (CONF_DIR / f"{verb}.yaml").read_text(encoding="utf-8").splitlines()
    found = [re.match(r"(\w+): +(.*?) +# (.*)$", line) for line in lines]
    return [Setting(match[1], written(yaml.safe_load(match[2])), "", match[3]) for match in found if match]


def by_choices(group: str, names: list[str]) -> dict[tuple[str, ...], list[Setting]]:
    """Choices -> the settings that these have in common and no others; those of the most choices come last."""
    owners: dict[Setting, list[str]] = {}
    for target, users in targets(group, names).items():
        for row in settings(group, target):
            owners.setdefault(row, []).extend(users)
    found: dict[tuple[str, ...], list[Setting]] = {}
    for row, users in owners.items():
        found.setdefault(tuple(sorted(users)), []).append(row)
    return dict(sorted(found.items(), key=lambda item: len(item[0])))


def targets(group: str, names: list[str]) -> dict[str, list[str]]:
    """What the choices of a group build -> the choices that do."""
    found: dict[str, list[str]] = {}
    for name in names:
        values = _values(group, name)
        above = [_values(group, other) for other in values.get("defaults", []) if other in names]
        for node in _nodes([values, *above]):
            found.setdefault(node["_target_"], []).append(name)
    return found


def settings(group: str, target: str) -> Iterator[Setting]:
    """The arguments of a target that a yaml or a command line can set."""
    function = resolve_target(target, group)
    texts = explanations(function)
    hints = annotations_of(function)
    for name, parameter in parameters(function).items():
        if not _can_be_set(hints.get(name)) or {f"{group}.{name}", f"{target}.{name}"} & set(FROM_CODE):
            continue
        default = "" if parameter.default is parameter.empty else written(parameter.default)
        yield Setting(name, default, in_words(hints[name]), texts.get(name, ""))


def explanations(function: Callable[..., Any]) -> dict[str, str]:
    """Argument -> what the docstrings of the function, of a class's bases and of its shared options say of it."""
    options = getattr(function, "__manyheads_options__", None)
    shared: dict[str, str] = {}
    bases = inspect.getmro(function) if inspect.isclass(function) else ()
    for kind in reversed((*inspect.getmro(options), *bases) if options else (*bases, Course)):
        shared |= described(kind)
    for kind in reversed(inspect.getmro(function) if inspect.isclass(function) else ()):
        shared |= described(kind) if kind.__module__.startswith("manyheads.") else {}
    known = parameters(function)
    return {name: text for name, text in (shared | described(function)).items() if name in known}


def described(thing: Any) -> dict[str, str]:
    """The lines below "Args:" or "Attributes:" of a docstring."""
    found: dict[str, str] = {}
    for section in re.findall(r"(?:Args|Attributes):\n((?:    .*\n|\n)+)", (inspect.getdoc(thing) or "") + "\n"):
        for names, text in re.findall(r"^    (\w+(?:, \w+)*): ((?:.*\n)(?:     +.*\n)*)", section, re.MULTILINE):
            if not text.startswith("see `"):  # which a base class explains
                said = re.sub(r"\bNone\b", "null", " ".join(text.split())).removesuffix(".")
                found |= dict.fromkeys(names.split(", "), said)
    return found


def table(rows: list[Setting]) -> str:
    """A Markdown table; the column of values is left out where none is told."""
    columns = [name for name in Setting._fields if any(getattr(row, name) for row in rows)]
    heads = {"key": "key", "default": "default", "values": "values", "text": "what it is"}
    lines = ["| " + " | ".join(heads[name] for name in columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = {**row._asdict(), "key": f"`{row.key}`", "default": f"`{row.default}`" if row.default else ""}
        lines.append("| " + " | ".join(_in_a_cell(cells[name]) for name in columns) + " |")
    return "\n".join(lines)


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "\\n")


def _choice_table(group: str, names: list[str]) -> str:
    rows = ["| choice | sets | what it is |", "| --- | --- | --- |"]
    for name in names:
        text = (CONF_DIR / group / f"{name}.yaml").read_text(encoding="utf-8")
        lines = [line[2:] for line in text.splitlines() if line.startswith("# ") and "@package" not in line]
        comment = " ".join(lines).removesuffix(".")
        sets = " ".join(
            f"all of `{value}`" if key == "defaults" else f"`{key}={value}`"
            for key, value in _flat(_values(group, name))
        )
        rows.append(f"| `{name}` | {sets} | {comment} |")
    return "\n".join(rows)


def _values(group: str, name: str) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(CONF_DIR / group / f"{name}.yaml"))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if key == "defaults":
            for item in value:
                if isinstance(item, Mapping):
                    yield from (
                        (str(name).removeprefix("override /").partition("@")[0], str(choice))
                        for name, choice in item.items()
                    )
                elif item != "_self_":
                    yield "defaults", str(item)
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}", written(value)


def _can_be_set(hint: Any) -> bool:
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return all(is_plain(part) or typing.get_origin(part) is dict for part in parts)


if __name__ == "__main__":
    sys.exit(0 if PAGE.write_text(page(), encoding="utf-8") else 1)
