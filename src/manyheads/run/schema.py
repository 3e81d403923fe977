"""The arguments of what a yaml names, read from source, so that a key is found or missed without importing torch.

What a value may be is told by `manyheads.signature`, once the target can be imported.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import operator
from pathlib import Path

_HOPS = 6  # re-exports and base classes that are followed

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def arguments(target: str, hops: int = _HOPS) -> dict[str, bool]:
    """The argument names of `package.module.name`, and whether each has a default; {} when the source is not found.

    Follows re-exports and, for a class without `__init__`, its first base class. A decorator that is given a dataclass
    adds its fields and those of its first base, as in `@source_builder(TextOptions)`. Imports nothing.
    """
    module, _, name = target.rpartition(".")
    path = _source(module)
    if path is None or hops == 0:
        return {}
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, Function) and node.name == name:
            given = [arg.id for call in node.decorator_list if isinstance(call, ast.Call)
                     for arg in call.args if isinstance(arg, ast.Name)]  # fmt: skip
            shared = [arguments(f"{module}.{options}", hops - 1) for options in given]
            return functools.reduce(operator.or_, shared, _of_function(node))
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_class(node, body, module, hops)
    origin = _imported(name, body, module, path.name == "__init__.py")
    return arguments(origin, hops - 1) if origin else {}


def _of_class(node: ast.ClassDef, body: list[ast.stmt], module: str, hops: int) -> dict[str, bool]:
    for item in node.body:
        if isinstance(item, Function) and item.name == "__init__":
            found = _of_function(item)
            found.pop(next(iter(found), ""), None)
            return found
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = (item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name))
        own = {item.target.id: item.value is not None for item in fields if isinstance(item.target, ast.Name)}
        return _of_base(node, module, hops) | own
    return _of_base(node, module, hops)


def _of_base(node: ast.ClassDef, module: str, hops: int) -> dict[str, bool]:
    if not node.bases or not isinstance(node.bases[0], ast.Name):
        return {}
    return arguments(f"{module}.{node.bases[0].id}", hops - 1)


def _of_function(node: Function) -> dict[str, bool]:
    places = [*node.args.posonlyargs, *node.args.args]
    first_default = len(places) - len(node.args.defaults)
    found = {argument.arg: i >= first_default for i, argument in enumerate(places)}
    named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return found | {argument.arg: default is not None for argument, default in named}


def _imported(name: str, body: list[ast.stmt], module: str, is_package: bool) -> str | None:
    """Where `from x import name` says that a name comes from."""
    for node in body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                parts = module.split(".")
                keep = len(parts) - node.level + (1 if is_package else 0)
                start = parts[:keep] if node.level else []
                return ".".join([*start, *([node.module] if node.module else []), alias.name])
    return None


def _source(module: str) -> Path | None:
    """The file of a module, found beneath its top package, which is located but not imported."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:  # a module without a spec, such as __main__
        return None
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin)
    if not rest:
        return base if base.suffix == ".py" else None
    inside = base.parent.joinpath(*rest)
    for path in (inside.with_name(inside.name + ".py"), inside / "__init__.py"):
        if base.name == "__init__.py" and path.is_file():
            return path
    return None
