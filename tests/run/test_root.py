"""Guards: a key at the top of a config that takes any value, and does something else with it hours later."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.run.compose import compose
from manyheads.run.root import GROUPS, RootKeys, check_root


def config(**changes: Any) -> DictConfig:
    found = compose("train", [], CONF_DIR).config
    for key, value in changes.items():
        found[key] = value
    return found


def test_every_key_of_the_yamls_has_a_type() -> None:
    """A key that is left out here would not be checked."""
    keys = {str(key) for verb in ("train", "eval") for key in compose(verb, [], CONF_DIR).config}
    assert keys - set(GROUPS) == set(RootKeys.__annotations__)


def test_the_default_passes_and_stays_what_it_is() -> None:
    found = config()
    before = OmegaConf.to_container(found)
    check_root(found)
    assert OmegaConf.to_container(found) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "one"),
        ("seed", 1.5),
        ("seed", None),
        ("seed", -1),
        ("seed", 2**32),
        ("compile", "maybe"),
        ("deterministic", 1),
        ("tags", "a"),
        ("name", ["a"]),
        ("resume", {"a": 1}),
        ("allow", True),
        ("checkpoint", None),
    ],
)
def test_a_value_of_another_kind_is_named(key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        check_root(config(**{key: value}))
    assert str(caught.value).startswith(f"{key}=")
    assert len(str(caught.value).splitlines()) <= 2


def test_a_number_where_a_text_belongs_becomes_one() -> None:
    """`name=3` and `tags=[1,a]` are texts to whoever types them, and numbers to YAML."""
    found = config(name=3, tags=[1, "a"], init=2026)
    check_root(found)
    assert (found.name, list(found.tags), found.init) == ("3", ["1", "a"], "2026")


def test_a_switch_is_no_text() -> None:
    with pytest.raises(UserError, match="^name=True"):
        check_root(config(name=True))


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_is_taken_out_is_named(group: str) -> None:
    found = compose("train", [f"~{group}"], CONF_DIR).config
    with pytest.raises(UserError, match=f"^{group} is not set: set {group}=NAME"):
        check_root(found)
