"""The Python signature is the schema of a yaml: what names it has, and which values its annotations admit."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from manyheads.errors import UserError, did_you_mean, written

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
    list: "a list, such as [A,B]",
    Sequence: "a list, such as [A,B]",
    dict: "a mapping",
    Mapping: "a mapping",
    Path: "a path",
}


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or function, in order."""
    found = inspect.signature(target).parameters.values()
    return {p.name: p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def plain_defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """The defaults that a yaml could hold; those of live objects, which only code can pass, are left out."""
    hints = annotations_of(target)
    defaults = {name: p.default for name, p in parameters(target).items() if p.default is not p.empty}
    return {name: value for name, value in defaults.items() if name in hints and is_plain(hints[name])}


def check_settings(target: Callable[..., Any], settings: Mapping[str, Any], key: str) -> None:
    """Raises UserError for a setting that `target` does not have, or whose value its annotation does not admit."""
    known = parameters(target)
    anything = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values())
    hints = annotations_of(target)
    for name, value in settings.items():
        if name.startswith("_") and name.endswith("_"):
            raise UserError(f"{key}.{name} is not supported; set only _target_ and the target's own arguments.")
        if name not in known and not anything:
            raise UserError(
                f"{key}.{name}={written(value)} is no setting of {target.__qualname__}.{did_you_mean(name, known)} "
                f"It has: {', '.join(known)}."
            )
        if name in hints:
            check_value(f"{key}.{name}", value, hints[name])


def check_value(key: str, value: Any, hint: Any) -> None:
    """Raises UserError for a value that the annotation of its key does not admit."""
    if not admits(hint, value):
        whole = isinstance(value, float) and value.is_integer() and admits(hint, int(value))
        raise UserError(f"{key}={written(value)}: set {in_words(hint)}{f', written {int(value)}' if whole else ''}.")


def admits(hint: Any, value: Any) -> bool:
    """Whether a value out of a yaml fits an annotation. Annotations that no yaml can hold admit everything."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(admits(part, value) for part in typing.get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, types.NoneType, type(None)):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str | Path)
    kind = origin or hint
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        inner = [part for part in typing.get_args(hint) if part is not Ellipsis]
        items = isinstance(value, list | tuple)
        return items and (not inner or all(any(admits(part, item) for part in inner) for item in value))
    return True


def in_words(hint: Any) -> str:
    """An annotation as a person would say it: `int | None` is "a whole number or null"."""
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (Union, types.UnionType):
        return " or ".join(in_words(part) for part in typing.get_args(hint))
    return _WORDS.get(typing.get_origin(hint) or hint, str(getattr(hint, "__name__", hint)))


def is_plain(hint: Any) -> bool:
    """Whether a yaml can hold what an annotation admits, and a key's default be written into it."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType) or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        return all(is_plain(part) for part in typing.get_args(hint) if part is not Ellipsis)
    return hint in (int, float, bool, str, type(None))


def annotations_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of each argument; {} where one is not there at run time."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # an annotation that is imported for type checkers only
        return {}
