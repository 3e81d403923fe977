"""The documentation inside Python source files, read by `ast`; nothing is imported."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# test suites and their data, third parties, and copies of other modules
_SKIPPED = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
_SKIPPED |= {"_bundled", "turtledemo", "lib-dynload", "pydoc_data", "__phello__", "_pyrepl"}
_TOPICS = Path("pydoc_data") / "topics.py"

Section = tuple[str, str]
"""A heading (the qualified name with its arguments, or "") and the text below it."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Documented(NamedTuple):
    """What has a docstring: a module (its name is ""), a class or a function, by its qualified name."""

    name: str
    node: ast.Module | ast.ClassDef | Function
    docstring: str

    @property
    def heading(self) -> str:
        """How the name is written above the docstring; "" for a module."""
        if isinstance(self.node, ast.ClassDef):
            return f"class {self.name}"
        return "" if isinstance(self.node, ast.Module) else f"{self.name}({ast.unparse(self.node.args)})"


def module_files(library: Path) -> dict[str, Path]:
    """The source file of each documented module of a standard library, by the module's dotted name, sorted."""
    found: dict[str, Path] = {}
    for folder, inside, files in os.walk(library):
        inside[:] = sorted(name for name in inside if name not in _SKIPPED and not name.startswith("config-"))
        parts = Path(folder).relative_to(library).parts
        for file in files:
            stem, suffix = os.path.splitext(file)
            if suffix == ".py" and stem not in _SKIPPED:
                found[".".join(parts if stem == "__init__" and parts else (*parts, stem))] = Path(folder, file)
    return dict(sorted(found.items()))


def module_text(name: str, path: Path) -> list[Section]:
    """The docstrings of a module, its classes and functions, in the order of the source; [] when there is none."""
    return [(found.heading or name, found.docstring) for found in documented(path)]


def documented(path: Path) -> list[Documented]:
    """What has a docstring in a source file, in the order of the source: the module itself, its classes and functions."""
    tree = _parse(path)
    if tree is None:
        return []
    own = Documented("", tree, _docstring(tree))
    return [found for found in (own, *_inside(tree.body, "")) if found.docstring]


def topic_texts(library: Path) -> dict[str, list[Section]]:
    """The pages of `help("TOPIC")`, by "topic:NAME"; {} when this Python has none."""
    tree = _parse(library / _TOPICS) if (library / _TOPICS).is_file() else None
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            pages = ast.literal_eval(node.value)
            return {f"topic:{name}": [("", text)] for name, text in pages.items()}
    return {}


def _inside(body: list[ast.stmt], prefix: str) -> Iterator[Documented]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield Documented(f"{prefix}{node.name}", node, _docstring(node))
            yield from _inside(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, Function):
            yield Documented(f"{prefix}{node.name}", node, _docstring(node))
        elif isinstance(node, ast.If | ast.Try):  # definitions that depend on the platform
            yield from _inside([*node.body, *node.orelse], prefix)


def _docstring(node: ast.Module | ast.ClassDef | Function) -> str:
    found = ast.get_docstring(node) or ""
    return found.encode("utf-8", "replace").decode()  # a lone surrogate is no text


def _parse(path: Path) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old string escapes in the library's own files
        try:
            return ast.parse(path.read_bytes())
        except SyntaxError:  # a file that is meant not to parse, or a template
            return None
