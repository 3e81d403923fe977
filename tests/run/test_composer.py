from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from manyheads.errors import UserError
from manyheads.run.compose import compose
from manyheads.run.composer import Base, Composer

RUN = OmegaConf.create(
    {
        "seed": 7,
        "resume": None,
        "allow": ["planted"],
        "data": {"_target_": "toys.parts.text", "path": "old"},
        "model": {"_target_": "toys.Net", "dim": 3},
        "optim": {"_target_": "toys.parts.adam", "lr": 2.5},
        "logger": {"wandb": {"_target_": "toys.parts.wandb"}},
        "defaults": ["planted"],
        "hydra": {"launcher": {"_target_": "os.system"}},
    }
)


def over(overrides: list[str], conf: Path, verb: str = "train") -> dict[str, Any]:
    config, choices = compose(verb, overrides, conf, Base(RUN, {"model": "mine", "data": "text"}))
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {**{str(key): value for key, value in found.items()}, "choices": choices}


def error_of(overrides: list[str], conf: Path, verb: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        compose(verb, overrides, conf, Base(RUN, {}))
    return str(caught.value)


def test_a_runs_config_is_the_base(conf: Path) -> None:
    found = over(["resume=x"], conf)
    assert found["model"]["dim"] == 3
    assert found["seed"] == 7
    assert found["resume"] == "x"
    assert found["choices"]["model"] == "mine"


def test_what_a_folder_may_not_bring_is_left_out(conf: Path) -> None:
    # `hydra` and `defaults` would choose what Hydra itself instantiates; `allow` is the command line's alone
    found = over(["resume=x"], conf)
    assert found["allow"] == []
    assert not {"hydra", "defaults"} & set(found)
    assert over(["resume=x", "allow=[mine]"], conf)["allow"] == ["mine"]


def test_a_choice_replaces_its_group_whole(conf: Path) -> None:
    found = over(["resume=x", "optim=sgd"], conf)
    assert found["optim"] == {"_target_": "toys.parts.sgd", "lr": 0.5}  # no lr of 2.5 left over
    assert found["choices"]["optim"] == "sgd"
    found = over(["resume=x", "data=text", "data.path=new"], conf)
    assert found["data"] == {"_target_": "toys.parts.text", "path": "new"}
    assert over(["resume=x", "logger=[wandb,csv]"], conf)["logger"].keys() == {"wandb", "csv"}
    assert "logger" not in over(["resume=x", "~logger"], conf)


def test_single_keys_are_set_and_held_to_what_is_there(conf: Path) -> None:
    assert over(["resume=x", "model.dim=5"], conf)["model"]["dim"] == 5
    assert over(["resume=x", "model.norm=layer"], conf)["model"]["norm"] == "layer"
    assert "Did you mean 'dim'" in error_of(["resume=x", "model.dmi=5"], conf)
    assert "data.path is not set" in error_of(["resume=x", "data=text"], conf)
    assert "data has no choice 'txet'" in error_of(["resume=x", "data=txet"], conf)


@pytest.mark.parametrize("recipe", ["experiment=big", "sweep=lr", "debug=fast"])
def test_recipes_do_not_go_over_a_run(conf: Path, recipe: str) -> None:
    assert f"{recipe}: " in error_of(["resume=x", recipe], conf)


def test_eval_has_its_own_keys_beside_the_runs(conf: Path) -> None:
    found = over(["run=x", "stride=4"], conf, "eval")
    assert (found["run"], found["stride"], found["checkpoint"]) == ("x", 4, "best")
    assert found["model"]["dim"] == 3
    assert "Did you mean 'stride'" in error_of(["run=x", "strid=4"], conf, "eval")


def test_settling_tries_each_value_of_a_sweep_and_adds_what_a_yaml_leaves_out(conf: Path) -> None:
    composer = Composer("train", conf)
    words = ["model.norm=a,b", "seed=range(1,3)", "optim.lr=interval(0,1)", "model=small,large"]
    assert composer.settle(words, sweep=True) == ["++model.norm=a,b", *words[1:]]
    with pytest.raises(Exception, match="lrge"):
        composer.settle(["model=small,lrge"], sweep=True)


def test_nothing_of_a_run_stays_in_hydras_store(conf: Path) -> None:
    # the next composition of the process would find it
    from hydra.core.config_store import ConfigStore

    before = set(ConfigStore.instance().repo)
    over(["resume=x"], conf)
    assert set(ConfigStore.instance().repo) == before
