"""Hydra's and OmegaConf's exceptions, said so that a user can mend what caused them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from manyheads.errors import UserError, did_you_mean
from manyheads.run.composer import Composer, UnknownKey, unknown_key
from manyheads.run.typed import quoted, shell_word

_MOST_NAMES = 24
_HIDDEN = re.compile(r"\$\{oc\.env:MANYHEADS_SECRET_\w+\}")  # what run/secrets.py puts in the place of a secret


def translate(error: BaseException, overrides: Sequence[str], composer: Composer | None) -> UserError | None:
    """The UserError that says what an exception of Hydra or OmegaConf means; None when it is neither's."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, yaml.YAMLError):
        return UserError(_yaml(error))
    for rule in (_parse, _missing_config, _group_value, _unknown, _composition, _omegaconf):
        text = rule(error, list(overrides), composer)
        if text is not None:
            return UserError(_HIDDEN.sub("***", text))
    absent = re.match(r"provider=hydra.searchpath.*path=(.*?) is not\s+available", str(error), re.DOTALL)
    if isinstance(error, UserWarning) and absent:
        return UserError(f"hydra.searchpath: there is no folder {absent[1]}.")
    if isinstance(error, HydraException) or _from_hydra(error):
        return UserError(_first_lines(str(error)))
    return None


def _parse(error: BaseException, overrides: list[str], composer: Composer | None) -> str | None:
    """An override that is not KEY=VALUE, or whose value the grammar cannot read."""
    if not isinstance(error, OverrideParseException):
        return None
    word = error.override
    key, equals, value = word.partition("=")
    if not equals and not word.startswith("~"):
        hint = "or --help for the help page" if word == "help" else "such as optim.lr=0.01"
        return f"{word!r} is not a setting. Write KEY=VALUE, {hint}."
    if not re.fullmatch(r"[+~]{0,2}[A-Za-z_][\w./@:\-\[\]]*", key):
        return f"{word!r}: {key!r} is no key. Write KEY=VALUE, such as optim.lr=0.01."
    return (
        f"{key}={value}: the value cannot be read. Close its brackets and quotes, or put it in quotes of its own:\n"
        f"  {shell_word(f'{key}={quoted(value)}')}"
    )


def _missing_config(error: BaseException, overrides: list[str], composer: Composer | None) -> str | None:
    """A choice that its group does not have, or a config that is not there."""
    if not isinstance(error, MissingConfigException):
        return None
    name = error.missing_cfg_file or ""
    group, _, choice = name.rpartition("/")
    if not group:
        where = f" under {composer.conf_dir}" if composer else ""
        return f"There is no config {name!r}{where}." if name else _first_lines(str(error))
    typed = [word for word in overrides if word.lstrip("+").startswith((f"{group}=", f"{group}@")) and choice in word]
    parent = re.match(r"In '([^']+)'", str(error))
    where = f" (chosen in {parent[1]}.yaml)" if parent and not typed else ""
    options = sorted(error.options or ())
    place = typed[-1] if typed else f"{group}={choice}"
    listed = f"\nChoices of {group}: {_list(options)}." if options else " It has none so far."
    return f"{place}{where}: {group} has no choice {choice!r}.{did_you_mean(choice, options)}{listed}"


def _group_value(error: BaseException, overrides: list[str], composer: Composer | None) -> str | None:
    """A group that is set to something that is not the name of a choice."""
    if not isinstance(error, ValueError) or not str(error).startswith("Config group override") or composer is None:
        return None
    for override in composer.parse(overrides):
        if not override.key_or_group:
            return f"{override.input_line!r} has no key. Write KEY=VALUE, such as optim.lr=0.01."
        choices = composer.choices_of(override.key_or_group, overrides)
        if choices and not isinstance(override.value(), str | list | dict):
            group = override.key_or_group
            return f"{override.input_line}: name a choice of {group} ({_list(choices)}), or leave it out with ~{group}."
    return None


def _unknown(error: BaseException, overrides: list[str], composer: Composer | None) -> str | None:
    """A key that the config does not have."""
    found = unknown_key(error)
    if found is None:
        return None
    word = next((w for w in overrides if w.partition("=")[0] == found.key), found.key)
    if found.missing in found.names and found.key == found.parent:
        return f"{word}: write {found.key}.{found.missing}=VALUE on its own."
    if found.builds and not found.names:
        return f"{word}: the {found.parent} chosen has no setting {found.missing!r}, and no other one."
    if found.missing in found.names or not found.names:
        single = f"{found.parent}.{found.missing}".lstrip(".") if found.names else found.parent
        return f"{word}: {single} is a single value or null here, and has no settings of its own."
    groups = composer.groups() if composer and not found.parent else []
    if found.missing in groups:
        taken_out = next((word for word in overrides if word.lstrip("~").partition("=")[0] == found.missing), "")
        if taken_out.startswith("~"):
            return f"{word}: {taken_out} takes {found.missing} out of the config. Leave one of the two out."
        return f"{word}: no choice of {found.missing} is made. Add {found.missing}=CHOICE."
    names = sorted({*found.names, *groups} - {"hydra"})
    place = f"{found.parent} has no setting {found.missing!r}" if found.parent else f"there is no key {found.missing!r}"
    others = composer.choices_with(found.parent, found.missing) if composer else []
    if others:
        add = f"{' or '.join(f'{found.parent}={name}' for name in others)}, which ha{'ve' if others[1:] else 's'} it"
        return f"{word}: the {found.parent} chosen has no setting {found.missing!r}. Add {add}."
    return f"{word}: {place}.{_suggest(found, names)}"


def _suggest(found: UnknownKey, names: list[str]) -> str:
    leaf = found.key.rpartition(".")[2]
    same = [full for full in found.elsewhere if full.rpartition(".")[2] == leaf]
    if same:
        return f" Did you mean {' or '.join(same[:3])}?"
    what = f"Settings of {found.parent}" if found.parent else "Keys and groups"
    return f"{did_you_mean(found.missing, names)}\n{what}: {_list(names)}."


def _composition(error: BaseException, overrides: list[str], composer: Composer | None) -> str | None:
    """What else Hydra says while it composes, by its own sentences."""
    if not isinstance(error, ConfigCompositionException):
        return None
    text = str(error)
    for pattern, say in _SENTENCES:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return say(found, composer)
    if isinstance(error.__cause__, OmegaConfBaseException):
        return _omegaconf(error.__cause__, overrides, composer)
    return _first_lines(text) if text else None


def _ambiguous(found: re.Match[str], composer: Composer | None) -> str:
    key, _, value = found[1].partition("=")
    return (
        f"{found[1]}: several values for one setting. Add -m to run once with each, "
        f"or write \"{key}='{value}'\" for a text with a comma and {key}=[{value}] for a list."
    )


def _no_such_group(found: re.Match[str], composer: Composer | None) -> str:
    groups = composer.groups() if composer else []
    return f"{found[1]}: there is no group {found[2]!r}.{did_you_mean(found[2], groups)}\nGroups: {_list(groups)}."


def _not_chosen(found: re.Match[str], composer: Composer | None) -> str:
    key = found[1]
    choices = composer.choices_of(key) if composer else []
    more = f" Choices of {key}: {_list(choices)}." if choices else ""
    return f"{key}: the config uses no group of this name; add one with +{key}=CHOICE.{more}"


def _merging(found: re.Match[str], composer: Composer | None) -> str:
    return f"{found[1]}: a setting of this kind does not fit there."


_SENTENCES: tuple[tuple[str, Callable[[re.Match[str], Composer | None], str]], ...] = (
    (r"Ambiguous value for argument '(.*?)'\n", _ambiguous),
    (r"Sweep parameters '(.*)' requires --multirun", lambda m, _: f"{m[1]}: add -m to run once with each value."),
    (
        r"Sweeping over Hydra's configuration is not supported : '(.*)'",
        lambda m, _: f"{m[1]}: hydra.* takes one value.",
    ),
    (r"Override (\S+) looks like a config group override, but config group '(.*?)' does not", _no_such_group),
    (
        r"Could not override '([^']+@[^']+)'",
        lambda m, _: f"{m[1]}: what the config does not have yet is added with a plus sign: +{m[1]}=CHOICE.",
    ),
    (r"Could not override '([^']+)'\. No match in the defaults list", _not_chosen),
    (r"Could not delete from config\. '(.*?)' does not exist", lambda m, _: f"~{m[1]}: there is no such key."),
    (r"Could not delete from config\. The value of '(.*?)' is (.*) and not", lambda m, _: f"~{m[1]}: it is {m[2]}."),
    (r"Could not delete '(.*?)'\. No match in the defaults", lambda m, _: f"~{m[1]}: the config has no such choice."),
    (
        r"Could not append to config\. An item is already at '(.*?)'",
        lambda m, _: f"+{m[1]} is there already: write it without +.",
    ),
    (r"Multiple values for (\S+)\.", lambda m, _: f"{m[1]} is chosen twice: keep one."),
    (r"force-add of config groups is not supported: '(.*?)'", lambda m, _: f"{m[1]}: write a group without ++."),
    (r"Error merging override (.+)$", _merging),
)


def _omegaconf(error: BaseException, overrides: list[str], composer: Composer | None) -> str | None:
    """A value that is missing, or that refers to something that is not there."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not set: add {error.full_key}=VALUE."
    if isinstance(error, InterpolationResolutionError):
        variable = re.search(r"Environment variable '(.+?)' not found", str(error))
        if variable:
            return f"{error.full_key} takes its value from the environment variable {variable[1]}, which is not set."
        return f"{error.full_key} refers to something that is not there: {_first_lines(str(error), 1)}"
    return None


def _yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else "a config"
    return f"{where}: not readable as YAML ({getattr(error, 'problem', None) or 'broken'})."


def _from_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised this ValueError, about the command line."""
    if not isinstance(error, ValueError):
        return False
    frames = list(_frames(error))
    return bool(frames) and "hydra" in Path(frames[-1]).parts[-4:]


def _frames(error: BaseException) -> Iterator[str]:
    at = error.__traceback__
    while at is not None:
        yield at.tb_frame.f_code.co_filename
        at = at.tb_next


def _first_lines(text: str, count: int = 2) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:count])


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown}, ..." if len(names) > _MOST_NAMES else shown
