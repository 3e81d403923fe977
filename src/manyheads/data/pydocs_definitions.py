"""What the standard library defines, each with its signature and its docstring as plain text."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from manyheads.data.docstrings import Documented, Function, documented
from manyheads.data.pydocs_prose import key, prose, summary_and_body

_PUBLIC_NAMES = {
    "_pydecimal": "decimal",
    "_pydatetime": "datetime",
    "_pyio": "io",
    "_collections_abc": "collections.abc",
}
_GENERATED = "encodings."
"""One module for each code page, with the same docstring but for its name."""


@final
@dataclass(frozen=True, kw_only=True)
class Signature:
    """The first line of a definition, and where in it the default of each parameter is.

    Attributes:
        text: e.g. `def Queue.get(self, block=True)`, `class Queue(Base)` or `module queue`.
        parameters: names in order, without self, cls and the starred ones.
        defaults: first and end character of the default in `text`, by parameter.
        bases: those of a class.
    """

    text: str
    parameters: tuple[str, ...] = ()
    defaults: Mapping[str, tuple[int, int]]
    bases: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Definition:
    """A module, class or function with a docstring.

    Attributes:
        module: the dotted name of its file.
        name: its qualified name in the module; "" for the module itself.
        doc: its docstring as `prose` leaves it: `summary`, then `body`.
        summary: the first sentence; "" when the docstring begins with something else.
    """

    module: str
    name: str
    signature: Signature
    doc: str
    summary: str
    body: str

    @property
    def dotted(self) -> str:
        """How a program names it."""
        module = _PUBLIC_NAMES.get(self.module, self.module)
        return f"{module}.{self.name}" if self.name else module

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return self.signature.text.startswith("class ")

    @property
    def is_public(self) -> bool:
        """Whether no part of its name begins with an underscore."""
        return not any(part.startswith("_") for part in self.dotted.split("."))


def definitions(files: Mapping[str, Path]) -> list[Definition]:
    """What the files define and document, in the order of the modules' names. Equal docstrings stay once.

    Docstrings are compared by their letters alone.
    """
    seen = {""}
    found = []
    for module, path in files.items():
        for definition in _of_module(module, path):
            letters = key(definition.doc)
            if letters not in seen:
                seen.add(letters)
                found.append(definition)
    return found


def _of_module(module: str, path: Path) -> Iterator[Definition]:
    if module.startswith(_GENERATED):
        return
    for found in documented(path):
        doc = prose(found.docstring)
        summary, body = summary_and_body(doc)
        yield Definition(
            module=module, name=found.name, signature=_signature(module, found), doc=doc, summary=summary, body=body
        )


def _signature(module: str, found: Documented) -> Signature:
    node = found.node
    if isinstance(node, Function):
        return _of_function(node, found.name)
    if isinstance(node, ast.ClassDef):
        bases = tuple(map(ast.unparse, node.bases))
        inside = f"({', '.join(bases)})" if bases else ""
        return Signature(text=f"class {found.name}{inside}", defaults={}, bases=bases)
    return Signature(text=f"module {_PUBLIC_NAMES.get(module, module)}", defaults={})


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Signature:
    text = f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {name}("
    names, defaults = [], {}
    for i, (stars, argument, default) in enumerate(_parameters(node.args)):
        text += f"{', ' if i else ''}{stars}{ast.unparse(argument) if argument else ''}"
        if argument and not stars and argument.arg not in ("self", "cls"):
            names.append(argument.arg)
        if argument and default:
            text += " = " if argument.annotation else "="
            start = len(text)
            text += ast.unparse(default)
            defaults[argument.arg] = (start, len(text))
    text += f"){f' -> {ast.unparse(node.returns)}' if node.returns else ''}"
    return Signature(text=text, parameters=tuple(names), defaults=defaults)


def _parameters(args: ast.arguments) -> Iterator[tuple[str, ast.arg | None, ast.expr | None]]:
    """Stars (or a slash), argument and default of each part of a signature, in order."""
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
    for place, (argument, default) in enumerate(zip(positional, defaults, strict=True), start=1):
        yield "", argument, default
        if place == len(args.posonlyargs):
            yield "/", None, None
    if args.vararg or args.kwonlyargs:
        yield "*", args.vararg, None
    for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield "", argument, default
    if args.kwarg:
        yield "**", args.kwarg, None
