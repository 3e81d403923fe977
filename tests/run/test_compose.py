import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.errors import Interrupted, UserError, explain
from manyheads.run.base import Base
from manyheads.run.compose import compose, hydra_main
from manyheads.run.folder import RunFolder, config_text, write_config

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


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--config-dir", "/no/such"], "there is no such folder"),
        (["--config-name", "other"], "There is no config 'other'"),
        (["--config-path", "x"], "--config-dir"),
        (["--lr=3"], "has no flag --lr"),
        (["--multirn"], "Did you mean --multirun"),
        (["--cfg", "jobs"], "invalid choice"),
        (["-m", "--cfg", "job"], "--multirun and --cfg do not go together: leave all but one of them out"),
        (["--resolve"], "--resolve"),
        (["--experimental-rerun", "x.pickle"], "pickle"),
        (["-m", "model=small,lrge"], "model has no choice 'lrge'"),
        (["-m", "optim.lrr=1,2"], "optim has no setting 'lrr'"),
    ],
)
def test_wrong_flags_and_sweeps_are_named(conf: Path, argv: list[str], words: str) -> None:
    assert words in error_of(argv, conf)
    assert list(Path.cwd().iterdir()) == []  # not even a sweep's folder


def test_a_literal_secret_is_not_written(conf: Path) -> None:
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


def test_two_choices_of_one_thing_are_refused(conf: Path) -> None:
    """Hydra merges both yamls into one node: the target of one with the settings of the other, and no word of it."""
    with pytest.raises(UserError, match=r"model=\[small,large\]: these would be mixed into one model"):
        compose("train", ["model=[small,large]"], conf)
    with pytest.raises(UserError, match="mixed into one data"):
        hydra_main("train", ["data=[tiny,text]"], conf, lambda *_: None)
    assert set(compose("train", ["logger=[wandb,csv]"], conf).config.logger) == {"wandb", "csv"}


def test_experiments_compose(conf: Path) -> None:
    task = Calls()
    hydra_main("train", ["experiment=big"], conf, task)
    assert task.configs[0]["model"]["dim"] == 99


def test_a_sweep_over_a_run(conf: Path) -> None:
    task = Calls()
    hydra_main("eval", ["-m", "run=x", "optim=sgd,adam", "model.dim=1"], conf, task, Base(RUN, {}))
    assert [(c["optim"]["lr"], c["model"]["dim"]) for c in task.configs] == [(0.5, 1), (0.1, 1)]


def test_a_start_from_other_weights_has_their_network(conf: Path, tmp_path: Path) -> None:
    """Unless another is named; a word of the command line and an experiment go over it."""
    start = RunFolder(tmp_path / "start")
    start.path.mkdir()
    config = OmegaConf.create({"model": {"_target_": "toys.Net", "dim": 3, "norm": "layer"}, "optim": {"lr": 2.5}})
    write_config(start, config_text(config, {"model": "large", "optim": "sgd"}))
    task, init = Calls(), f"+init={start.path}"
    for words in ([init], [init, "model.norm=rms", "optim=sgd"], [init, "model=small"], [init, "experiment=big"]):
        hydra_main("train", words, conf, task)
    hydra_main("train", ["-m", init, "seed=1,2"], conf, task)
    assert [(each["model"]["dim"], each["model"].get("norm"), each["optim"]["lr"]) for each in task.configs] == [
        (3, "layer", 0.1), (3, "rms", 0.5), (8, None, 0.1), (99, "layer", 0.1), (3, "layer", 0.1), (3, "layer", 0.1)
    ]  # fmt: skip
    assert [each["model"] for each in task.choices] == ["large", "large", "small", "large", "large", "large"]
    found = compose("train", [init], conf)
    assert (found.config.model.dim, found.choices["model"], found.choices["optim"]) == (3, "large", "adam")
    assert "start2: there is no such folder" in error_of([f"{init}2"], conf)


def test_from_python(conf: Path) -> None:
    config, choices = compose("train", ["model=large", "model.norm=layer"], conf)
    assert (config.model.dim, config.model.norm, choices["model"]) == (64, "layer", "large")
    assert "hydra" not in config
    assert compose("train", ["optim=sgd"], conf, Base(RUN, {})).config.optim.lr == 0.5
    with pytest.raises(UserError, match="data has no choice"):
        compose("train", ["data=txet"], conf)


@pytest.mark.parametrize("overrides", ["model.dim=16", ["optim.lr=1", 3]])
def test_what_is_no_list_of_texts_is_named(conf: Path, overrides: Any) -> None:
    """A text is a list of letters, of which none is a setting."""
    with pytest.raises(UserError, match=r"overrides=.*: set a list of texts, such as \['optim\.lr=0\.01'\]"):
        compose("train", overrides, conf)
