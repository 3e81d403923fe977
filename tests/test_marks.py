"""Guards: a function that a config may build by accident, and `manyheads.load` that stops being callable once its module is imported."""

import sys
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from manyheads import marks
from manyheads.build import check_installed, resolve_target
from manyheads.errors import UserError
from manyheads.marks import builder, callable_module, needs


def test_only_a_marked_function_of_ours_may_be_built() -> None:
    """Both are functions of the package; the mark is all that tells them apart."""
    assert resolve_target("manyheads.optim.adamw.adamw", "optim").__name__ == "adamw"
    with pytest.raises(UserError, match="may not be built"):
        resolve_target("manyheads.optim.base.check_betas", "optim")


def test_the_mark_leaves_the_function_as_it_is() -> None:
    def make() -> int:
        return 3

    assert builder(make) is make
    assert make.__manyheads_builder__ is True  # type: ignore[attr-defined]


def test_what_a_builder_needs_and_is_not_there_is_named_with_what_to_install() -> None:
    node = OmegaConf.create({"_target_": "manyheads.logger.tensorboard.tensorboard"})
    check_installed(node, "logger.tensorboard")

    @needs("sys", "no_such_package_anywhere", pip="such-a-package")
    @builder
    def make() -> None: ...

    make.__module__ = "manyheads.marks"
    marks.made_by_a_test = make
    try:
        with pytest.raises(UserError) as told:
            check_installed(OmegaConf.create({"_target_": "manyheads.marks.made_by_a_test"}), "logger.x")
    finally:
        del marks.made_by_a_test  # type: ignore[attr-defined]
    assert str(told.value) == (
        "logger.x needs the package no_such_package_anywhere, which is not installed: pip install such-a-package"
    )


def test_a_module_calls_the_function_of_its_name_and_stays_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing a submodule sets it as an attribute of its package, which would hide a function of that name."""
    module = ModuleType("a_module_of_this_test")
    module.value = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    callable_module(module.__name__, lambda *args, **kwargs: (args, kwargs))
    assert module(1, key=2) == ((1,), {"key": 2})
    assert isinstance(module, ModuleType)
    assert module.value == 5
