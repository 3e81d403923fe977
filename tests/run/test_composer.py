from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.run.base import OF_RUN, Base
from manyheads.run.compose import compose, hydra_main
from manyheads.run.composer import Composer

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


# a task's yaml may choose head and network: here with the real tree


def chosen(*words: str, config_dir: str | None = None) -> tuple[str, str, str]:
    choices = compose("train", words, CONF_DIR, None, config_dir).choices
    return choices["task"], choices["head"], choices["model"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("generation", "next_token", "tiny")),
        (["task=classification"], ("classification", "label", "encoder")),
        (["task=translation"], ("translation", "next_token", "encoder_decoder")),
        (["task=summarization"], ("summarization", "next_token", "encoder_decoder")),
        (["model=tiny", "task=classification"], ("classification", "label", "tiny")),
        (["task=classification", "model=bert"], ("classification", "label", "bert")),
        (["task=classification", "head=next_token"], ("classification", "next_token", "encoder")),
        (["task=translation", "model=small"], ("translation", "next_token", "small")),
        (["experiment=transformer_512", "task=classification"], ("classification", "label", "transformer_512")),
        (["task=generation", "experiment=transformer_512"], ("generation", "next_token", "transformer_512")),
    ],
)
def test_a_task_alone_takes_what_fits_it_and_the_command_line_and_experiments_win(
    words: list[str], expected: tuple[str, str, str]
) -> None:
    assert chosen(*words) == expected


def test_settings_go_into_the_network_that_the_task_chose() -> None:
    config = compose("train", ["task=translation", "model.num_encoder_layers=2", "head.z_loss=0.1"], CONF_DIR).config
    assert config.model.num_encoder_layers == 2
    assert "Label" in compose("train", ["task=classification"], CONF_DIR).config.head._target_


def test_an_experiment_of_ones_own_may_choose_the_task(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /task: classification\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "experiment" / "more.yaml").write_text(text + "  - override /model: nano\n", encoding="utf-8")
    assert chosen("experiment=mine", config_dir=str(tmp_path)) == ("classification", "label", "encoder")
    assert chosen("experiment=more", config_dir=str(tmp_path)) == ("classification", "label", "nano")
    assert chosen("experiment=more", "model=bert", config_dir=str(tmp_path)) == ("classification", "label", "bert")


def test_a_task_of_ones_own_may_choose_from_a_folder_of_ones_own(tmp_path: Path) -> None:
    for group, text in {
        "task": "defaults:\n  - override /model@_global_.model: mine\n\n_target_: own.Task\n",
        "model": "_target_: own.Net\n",
    }.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(text, encoding="utf-8")
    assert chosen("task=mine", config_dir=str(tmp_path)) == ("mine", "next_token", "mine")
    assert chosen("task=mine", "model=nano", config_dir=str(tmp_path)) == ("mine", "next_token", "nano")


def test_each_run_of_a_sweep_takes_what_fits_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    hydra_main(
        "train",
        ["-m", "task=generation,classification,translation"],
        CONF_DIR,
        lambda config, folder, choices: seen.append((choices["task"], choices["head"], choices["model"])),
    )
    assert seen == [
        ("generation", "next_token", "tiny"),
        ("classification", "label", "encoder"),
        ("translation", "next_token", "encoder_decoder"),
    ]


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_a_run_keeps_its_head_and_network_whatever_task_is_named(verb: str) -> None:
    config, choices = compose("train", ["model=nano", "model.dim=32", "head.bias=true"], CONF_DIR)
    base = Base(config, choices)
    over, kept = compose(verb, ["task=classification", "task.batch_size=3"], CONF_DIR, base)
    assert (over.task._target_.rpartition(".")[2], over.task.batch_size) == ("Classification", 3)
    assert (over.model, over.head, over.tokenizer, over.data) == (
        config.model,
        config.head,
        config.tokenizer,
        config.data,
    )
    assert (kept["task"], kept["head"], kept["model"]) == ("classification", "next_token", "nano")
    assert not [name for name in kept.values() if name == OF_RUN]
    over, kept = compose(verb, ["task=classification", "head=label"], CONF_DIR, base)
    assert (kept["head"], kept["model"], over.model) == ("label", "nano", config.model)
    assert over.head == {"_target_": "manyheads.head.label.Label"}
