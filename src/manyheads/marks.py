"""The mark that lets a config build what a function returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def builder(function: F) -> F:
    """Marks a function of this package as one that a yaml's `_target_` may name."""
    function.__manyheads_builder__ = True  # type: ignore[attr-defined]
    return function
