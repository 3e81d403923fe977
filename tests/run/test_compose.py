import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.errors import Interrupted, UserError, explain
from manyheads.run.compose import compose, compose_over, hydra_main
from manyheads.run.composer import Base

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


class Calls:
    """A task function that keeps what it was called with."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.configs: list[dict[str, Any]] = []
        self.folders: list[Path | None] = []
        self.choices: list[dict[str, str]] = []
        self.full_error: list[str | None] = []
        self.error = error

    def __call__(self, config: DictConfig, folder: Path | None, choices: dict[str, str]) -> None:
        found = OmegaConf.to_container(config, resolve=True)
        assert isinstance(found, dict)
        self.configs.append({str(key): value for key, value in found.items()})
        self.folders.append(folder)
        self.choices.append(choices)
        child = subprocess.run(["printenv", "HYDRA_FULL_ERROR"], capture_output=True, text=True)
        self.full_error.append(child.stdout.strip() or None)
        if self.error is not None:
            raise self.error


def error_of(argv: list[str], conf: Path, base: Base | None = None, verb: str = "train") -> str:
    """The text of the UserError that a command line ends in; the task must not have been reached."""
    task = Calls()
    with pytest.raises(UserError) as caught:
        hydra_main(verb, argv, conf, task, base)
    assert task.configs == []
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_a_single_run_leaves_no_trace_of_hydra(conf: Path) -> None:
    task = Calls()
    before = list(sys.argv)
    hydra_main("train", ["optim.lr=0.25", "model=large"], conf, task)
    assert task.configs[0]["optim"]["lr"] == 0.25
    assert task.configs[0]["model"]["dim"] == 64
    assert "hydra" not in task.configs[0]
    assert task.folders == [None]
    assert task.choices[0]["model"] == "large"
    assert not any(name.startswith("hydra") for name in task.choices[0])
    assert list(Path.cwd().iterdir()) == []
    assert sys.argv == before  # Lightning starts further ranks from it


@pytest.mark.parametrize("own", [None, "0", "1"])
def test_children_inherit_the_users_own_setting(conf: Path, monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    if own is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", own)
    task = Calls()
    hydra_main("train", [], conf, task)
    assert task.full_error == [own]
    assert os.environ.get("HYDRA_FULL_ERROR") == own


def test_a_sweep_gives_each_run_a_folder_of_its_own(conf: Path) -> None:
    task = Calls()
    hydra_main("train", ["-m", "model=small,large", "seed=2"], conf, task)
    assert [(c["model"]["dim"], c["seed"]) for c in task.configs] == [(8, 2), (64, 2)]
    sweep = Path("outputs/sweeps").resolve()
    assert [f.relative_to(sweep).parts[1] for f in task.folders if f] == ["0", "1"]
    assert len({f.parent for f in task.folders if f}) == 1


def test_two_sweeps_of_one_second_do_not_share_a_folder(conf: Path) -> None:
    task = Calls()
    for _ in range(2):
        hydra_main("train", ["-m", "seed=1"], conf, task)
    assert len({f for f in task.folders if f}) == 2


def test_a_key_of_the_signature_that_the_yaml_leaves_out_can_be_set(conf: Path) -> None:
    task = Calls()
    hydra_main("train", ["model.norm=layer"], conf, task)
    assert task.configs[0]["model"] == {"_target_": "toys.Net", "dim": 8, "norm": "layer"}
    hydra_main("train", ["-m", "model.norm=a,b", "optim.beta=0.5"], conf, task)
    assert [c["model"]["norm"] for c in task.configs[1:]] == ["a", "b"]


def test_an_argument_without_a_default_is_not_offered(conf: Path) -> None:
    # vocab_size comes from the tokenizer; a yaml that sets it would clash with that
    assert "vocab_size" not in error_of(["model.vocab=3"], conf).partition("Settings")[2]
    assert "model has no setting 'vocab_size'" in error_of(["model.vocab_size=3"], conf)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["dta=text"], "there is no key 'dta'. Did you mean 'data'"),
        (["data=txet"], "data=txet: data has no choice 'txet'. Did you mean 'text'"),
        (["optim.lrr=1"], "optim has no setting 'lrr'. Did you mean 'lr'"),
        (["model.nrm=1"], "Did you mean 'norm'"),
        (["optm.lr=1"], "Did you mean optim.lr?"),
        (["lr=1"], "Did you mean optim.lr?"),
        (["model.lr=1"], "Did you mean optim.lr?"),
        (["model.dim.x=1"], "model.dim is a single value"),
        (["data=text"], "data.path is not set: add data.path=VALUE"),
        (["optim.lr"], "Write KEY=VALUE"),
        (["help"], "--help"),
        (["=3"], "has no key"),
        (["data=text", "data.path=my (1.txt"], "\"data.path='my (1.txt'\""),
        (["optim.lr=[1"], "the value cannot be read"),
        (["optim.lr=1,2"], "Add -m"),
        (["optim.lr=range(1,3)"], "add -m"),
        (["optim=3"], "name a choice of optim (adam, sgd)"),
        (["logger=null"], "leave it out with ~logger"),
        (["seed=${oc.env:NO_SUCH_THING}"], "environment variable NO_SUCH_THING, which is not set"),
        (["seed=${nowhere.at.all}"], "seed refers to something that is not there"),
        (["~optim.nothing"], "there is no such key"),
        (["++model=large"], "write a group without ++"),
        (["modle@x=large"], "there is no group 'modle'. Did you mean 'model'"),
        (["hydra.searchpath=[/no/such]"], "there is no folder /no/such"),
        (["hydra/launcher=slurmm"], "hydra/launcher has no choice 'slurmm'"),
        (["--config-dir", "/no/such"], "there is no such folder"),
        (["--config-name", "other"], "There is no config 'other'"),
        (["--config-path", "x"], "--config-dir"),
        (["--lr=3"], "has no flag --lr"),
        (["--multirn"], "Did you mean --multirun"),
        (["--cfg", "jobs"], "invalid choice"),
        (["--resolve"], "--resolve"),
        (["--experimental-rerun", "x.pickle"], "pickle"),
        (["-m", "model=small,lrge"], "model has no choice 'lrge'"),
        (["-m", "optim.lrr=1,2"], "optim has no setting 'lrr'"),
    ],
)
def test_mistakes_are_named(conf: Path, argv: list[str], words: str) -> None:
    assert words in error_of(argv, conf)
    assert list(Path.cwd().iterdir()) == []  # not even a sweep's folder


def test_a_broken_yaml_is_named_with_its_line(conf: Path, tmp_path: Path) -> None:
    (conf / "data" / "broken.yaml").write_text("a: 1\nb: [\n")
    text = error_of(["data=broken"], conf)
    assert "broken.yaml, line 3" in text


def test_a_literal_secret_is_neither_said_nor_written(conf: Path) -> None:
    assert "hush-hush" not in error_of(["logger.wandb.api_key=hush-hush"], conf)
    task = Calls()
    hydra_main("train", ["-m", "+logger.wandb.api_key=hush-hush", "seed=1,2"], conf, task)
    assert task.configs[1]["logger"]["wandb"]["api_key"] == "hush-hush"
    written = [p.read_text() for p in Path("outputs").rglob("*") if p.is_file()]
    assert written  # Hydra writes a sweep's config
    assert not any("hush-hush" in text for text in written)


def test_users_and_our_errors_of_the_task_come_out_unchanged(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for error in (UserError("mine"), ValueError("ours"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            hydra_main("train", [], conf, Calls(error))
        assert caught.value is error
    assert capsys.readouterr() == ("", "")  # Hydra's own lines are held back


def test_an_interruption_ends_a_sweep(conf: Path) -> None:
    task = Calls(Interrupted(15, "resume with ..."))
    with pytest.raises(Interrupted) as caught:
        hydra_main("train", ["-m", "seed=1,2,3"], conf, task)
    assert explain(caught.value) == ("resume with ...", 143)
    assert len(task.configs) == 1


def test_a_sweep_goes_on_after_a_failure_and_says_which_failed(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def task(config: DictConfig, folder: Path | None, choices: dict[str, str]) -> None:
        seen.append(config.seed)
        if config.seed == 2:
            raise UserError("two is bad")

    with pytest.raises(UserError, match="1 of 3 runs of the sweep failed:\n  1: seed=2"):
        hydra_main("train", ["-m", "seed=1,2,3"], conf, task)
    assert seen == [1, 2, 3]
    assert capsys.readouterr().err == "error: two is bad\n"


def test_flags_print_and_run_nothing(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Calls()
    hydra_main("train", ["--cfg", "job", "model.norm=layer"], conf, task)
    assert "norm: layer" in capsys.readouterr().out
    hydra_main("train", ["--info", "searchpath"], conf, task)
    assert str(conf) in capsys.readouterr().out
    assert task.configs == []


def test_a_folder_of_ones_own_adds_choices(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "own.yaml").write_text("_target_: mine.f\n")
    task = Calls()
    hydra_main("train", ["--config-dir", str(tmp_path / "mine"), "data=own"], conf, task)
    hydra_main("train", [f"hydra.searchpath=[{tmp_path / 'mine'}]", "data=own"], conf, task)
    assert [c["data"] for c in task.configs] == [{"_target_": "mine.f"}] * 2


def test_experiments_compose(conf: Path) -> None:
    task = Calls()
    hydra_main("train", ["experiment=big"], conf, task)
    assert task.configs[0]["model"]["dim"] == 99


def over(argv: list[str], conf: Path, verb: str = "train") -> dict[str, Any]:
    task = Calls()
    hydra_main(verb, argv, conf, task, Base(RUN, {"model": "mine", "data": "text"}))
    return {**task.configs[0], "choices": task.choices[0]}


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
    base = Base(RUN, {})
    assert "Did you mean 'dim'" in error_of(["resume=x", "model.dmi=5"], conf, base)
    assert "data.path is not set" in error_of(["resume=x", "data=text"], conf, base)
    assert "data has no choice 'txet'" in error_of(["resume=x", "data=txet"], conf, base)


@pytest.mark.parametrize("recipe", ["experiment=big", "sweep=lr", "debug=fast"])
def test_recipes_do_not_go_over_a_run(conf: Path, recipe: str) -> None:
    assert f"{recipe}: " in error_of(["resume=x", recipe], conf, Base(RUN, {}))


def test_eval_has_its_own_keys_beside_the_runs(conf: Path) -> None:
    found = over(["run=x", "stride=4"], conf, "eval")
    assert (found["run"], found["stride"], found["checkpoint"]) == ("x", 4, "best")
    assert found["model"]["dim"] == 3
    assert "Did you mean 'stride'" in error_of(["run=x", "strid=4"], conf, Base(RUN, {}), "eval")


def test_a_sweep_over_a_run(conf: Path) -> None:
    task = Calls()
    hydra_main("eval", ["-m", "run=x", "optim=sgd,adam", "model.dim=1"], conf, task, Base(RUN, {}))
    assert [(c["optim"]["lr"], c["model"]["dim"]) for c in task.configs] == [(0.5, 1), (0.1, 1)]


def test_from_python(conf: Path) -> None:
    config, choices = compose("train", ["model=large", "model.norm=layer"], conf)
    assert (config.model.dim, config.model.norm, choices["model"]) == (64, "layer", "large")
    assert "hydra" not in config
    assert compose_over(RUN, ["optim=sgd"], conf).optim.lr == 0.5
    with pytest.raises(UserError, match="data has no choice"):
        compose("train", ["data=txet"], conf)
