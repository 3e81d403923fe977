"""Guards: a root key whose wrong type is noticed by whatever uses it, after the run has begun."""

import pytest
from omegaconf import OmegaConf

from manyheads.errors import UserError
from manyheads.run.root import GROUPS, RootKeys, check_root

KEYS = {"seed": 1, "name": None, "tags": [], "allow": [], "compile": False}


def test_numbers_where_texts_belong_become_texts() -> None:
    """A run may be called 3, its folder 2026."""
    cfg = OmegaConf.create(KEYS | dict.fromkeys(GROUPS) | {"name": 3, "tags": [1, "a", 2.5], "run": 2026, "stride": 8})
    check_root(cfg)
    assert (cfg.name, cfg.tags, cfg.run, cfg.stride) == ("3", ["1", "a", "2.5"], "2026", 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1.5}, "seed=1.5: set a whole number."),
        ({"seed": True}, "seed=true: set a whole number."),
        ({"seed": -1}, "seed=-1: set a number from 0 to 4294967295."),
        ({"name": True}, "name=true: set a text or null."),
        ({"tags": None}, "tags=null: set a list, such as [A,B]."),
        ({"allow": "os"}, "allow=os: set a list, such as [A,B]."),
        ({"compile": "yes"}, "compile=yes: set true or false."),
        ({"init": {"a": 1}}, "init={'a': 1}: set a text or null."),
    ],
)
def test_a_value_of_another_type_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as told:
        check_root(OmegaConf.create(KEYS | dict.fromkeys(GROUPS) | change))
    assert str(told.value) == message


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_is_not_there_is_named(group: str) -> None:
    with pytest.raises(UserError, match=f"^{group} is not set: set {group}=NAME"):
        check_root(OmegaConf.create(KEYS | {name: None for name in GROUPS if name != group}))


def test_every_root_key_has_a_type() -> None:
    from manyheads.build import CONF_DIR

    keys = {str(key) for name in ("train", "eval", "predict") for key in OmegaConf.load(CONF_DIR / f"{name}.yaml")}
    assert keys - {"defaults", "input"} == RootKeys.__annotations__.keys()
