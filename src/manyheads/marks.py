"""Marks on functions: a config may build what it returns; a module of its name calls it."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def builder(function: F) -> F:
    """Marks a function of this package as one that a yaml's `_target_` may name."""
    function.__manyheads_builder__ = True  # type: ignore[attr-defined]
    return function


def builder_with(
    options: type, finish: Callable[[Any, Any], Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a function as a builder that has the fields of a dataclass as keyword arguments besides its own.

    What it returns is `finish(what the function returned, the options)`. The class stands at the function, where it is
    also read from source: a key is known before anything is imported.
    """
    shared = inspect.signature(options)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def build(**settings: Any) -> Any:
            chosen = options(**{name: settings.pop(name) for name in shared.parameters if name in settings})
            return finish(function(**settings), chosen)

        own = inspect.signature(function)
        build.__signature__ = own.replace(parameters=[*own.parameters.values(), *shared.parameters.values()])  # type: ignore[attr-defined]
        build.__annotations__ = {**function.__annotations__, **typing.get_type_hints(options)}
        build.__manyheads_options__ = options  # type: ignore[attr-defined]
        return builder(build)

    return mark


def needs(*modules: str, pip: str) -> Callable[[F], F]:
    """Marks a builder that imports `modules`, which an installation may lack; `pip` is what pip then has to install."""

    def mark(function: F) -> F:
        function.__manyheads_needs__ = (modules, pip)  # type: ignore[attr-defined]
        return function

    return mark


def callable_module(name: str, function: Callable[..., Any]) -> None:
    """Lets `manyheads.load(...)` call the function of that name although `manyheads.load` is also a module.

    Importing a submodule sets an attribute of its package, which would hide a function of the same name.
    """

    class CallableModule(ModuleType):
        """A module that is called as the function is."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[name].__class__ = CallableModule
