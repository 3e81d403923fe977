"""Guards: a module in two groups, a submodule apart from its package."""

from manyheads.data.pydocs_groups import GROUPS, OTHER, group_of


def test_each_module_is_named_once() -> None:
    named = [module for modules in GROUPS.values() for module in modules.split()]
    assert len(named) == len(set(named)) > 150
    assert 6 <= len(GROUPS) <= 10


def test_submodules_are_where_their_package_is() -> None:
    assert [group_of(name) for name in ("json", "json.decoder", "tkinter.ttk", "_pydecimal")] == [
        "web",
        "web",
        "graphics",
        "numbers",
    ]
    assert group_of("distutils.util") == group_of("jsonlike") == group_of("topic:for") == OTHER
