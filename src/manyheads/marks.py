"""Marks on functions: a config may build what it returns; a module of its name calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def builder(function: F) -> F:
    """Marks a function of this package as one that a yaml's `_target_` may name."""
    function.__manyheads_builder__ = True  # type: ignore[attr-defined]
    return function


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
