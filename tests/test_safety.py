"""Guards: a run folder or a checkpoint from elsewhere that runs code, or writes where it should not, when it is opened."""

from __future__ import annotations

import contextlib
import importlib
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import manyheads
from manyheads.errors import UserError

CHECKPOINTS = ("best.ckpt", "last.ckpt")


class Payload:
    """What a pickle of it does when it is read: it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that is there when a payload ran."""
    return tmp_path / "it_ran"


@pytest.fixture
def run(tiny_trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run that was interrupted, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    shutil.copytree(tiny_trained.folder, folder)
    results = json.loads((folder / "results.json").read_text())
    results["run"]["status"] = "interrupted"
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def change_config(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the config.yaml of a run, and the config in each of its checkpoints."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config)
    text = yaml.safe_dump(config, sort_keys=False)
    (run / "config.yaml").write_text(text)
    change_checkpoints(run, lambda content: content["manyheads"].update(config=text))


def change_checkpoints(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    for name in CHECKPOINTS:
        content = torch.load(run / "checkpoints" / name, weights_only=True)
        change(content)
        (run / "checkpoints" / name).unlink()
        torch.save(content, run / "checkpoints" / name)


# ways to open what came from elsewhere; each returns what the user was told


Door = Callable[[Path, Callable[..., Any]], str]


def by(*words: str) -> Door:
    def door(run: Path, cli: Callable[..., Any]) -> str:
        done = cli(*(word.format(run=run) for word in words))
        assert done.code == 1, done.out
        assert done.folders == []
        return done.err

    return door


def by_python(run: Path, cli: Callable[..., Any]) -> str:
    with pytest.raises(UserError) as told:
        manyheads.load(run)
    return f"error: {told.value}"


RESUME, EVAL = by("train", "resume={run}", "trainer.max_steps=8"), by("eval", "run={run}")
GENERATE = by("generate", "run={run}", "max_new_tokens=2", "x")
INIT = by("train", "data=text", "data.path=nowhere", "tokenizer=byte", "logger=csv", "init={run}")
ANY_CONFIG = {"resume": RESUME, "eval": EVAL, "generate": GENERATE, "load": by_python}


def some(values: Iterable[Any], always: Sequence[Any]) -> list[Any]:
    """Parameters, of which those in `always` run every time and the others are slow together."""
    return [pytest.param(value, marks=[pytest.mark.slow] * (value not in always)) for value in values]


# a pickle


@pytest.mark.parametrize(
    "door", [RESUME, EVAL, GENERATE, by_python, INIT], ids=["resume", "eval", "generate", "load", "init"]
)
@pytest.mark.parametrize("form", some(("archive", "old archive", "bare pickle"), ["archive"]))
def test_a_pickle_in_a_checkpoint_does_not_run(
    door: Door, form: str, run: Path, mark: Path, cli: Callable[..., Any]
) -> None:
    (run.parent / "nowhere").write_text("a text\n" * 30)
    for name in CHECKPOINTS:
        path = run / "checkpoints" / name
        content = torch.load(path, weights_only=True) | {"extra": Payload(mark)}
        path.unlink()
        if form == "bare pickle":
            path.write_bytes(pickle.dumps(Payload(mark)))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    said = door(run, cli)
    assert not mark.exists()
    refusals = {"bare pickle": "is truncated or no checkpoint"}
    assert re.search(
        f"error: checkpoint .*ckpt {refusals.get(form, 'holds the Python object .* could run code')}", said
    )
    with contextlib.suppress(RuntimeError):  # the payload is a live one
        torch.load(path, weights_only=False)
    assert mark.exists()


def test_what_lightning_would_call_by_name_is_not_called(run: Path, mark: Path, cli: Callable[..., Any]) -> None:
    """Lightning's load_from_checkpoint imports what `_instantiator` names, in spite of weights_only=True."""
    planted = {"_instantiator": "os.system", "command": f"touch {mark}"}
    keys = ("hyper_parameters", "datamodule_hyper_parameters", "hparams_name")
    change_checkpoints(run, lambda content: content.update(dict.fromkeys(keys, planted)))
    done = cli("train", f"resume={run}", "trainer.max_steps=7")
    assert (done.code, done.err) == (0, "")
    assert manyheads.load(run).generate("x", max_new_tokens=1) is not None
    assert not mark.exists()


# a _target_


def target_nodes(here: Path, mark: Path) -> dict[str, dict[str, Any]]:
    """Nodes that run code wherever what they name is called with their settings."""
    (here / "hub").mkdir()
    (here / "hub" / "hubconf.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\ndef net(): ...\n")
    (here / "planted.pt").write_bytes(pickle.dumps(Payload(mark)))
    command = f"touch {mark}"
    return {
        "os.system": {"command": command},
        "torch.load": {"f": str(here / "planted.pt"), "weights_only": False},
        "torch.hub.load": {"repo_or_dir": str(here / "hub"), "model": "net", "source": "local"},
        "torch.utils.collect_env.run": {"command": command},
    }


TARGETS = ("os.system", "torch.load", "torch.hub.load", "torch.utils.collect_env.run")


@pytest.mark.parametrize("door", some(ANY_CONFIG, ["eval", "load"]))
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_in_a_config_is_not_called(
    target: str, door: str, run: Path, mark: Path, cli: Callable[..., Any]
) -> None:
    node = {"_target_": target, **target_nodes(run.parent, mark)[target]}
    change_config(run, lambda config: config.update(model=node, allow=["os", "torch", target.rpartition(".")[0]]))
    said = ANY_CONFIG[door](run, cli)
    assert not mark.exists()
    assert f"model._target_={target} " in said
    assert len(said.splitlines()) <= 2


@pytest.mark.parametrize("target", TARGETS)
def test_the_planted_targets_are_live(target: str, tmp_path: Path, mark: Path) -> None:
    settings = target_nodes(tmp_path, mark)[target]
    module, _, name = target.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    with contextlib.suppress(RuntimeError):  # torch.load, when it has run the pickle
        function(*settings.values()) if target == "os.system" else function(**settings)
    assert mark.exists()


PLACES = (
    *("data", "head", "task", "optim", "trainer", "trainer.strategy", "callbacks", "callbacks.sample_prompt"),
    *("tokenizer", "model.ff_dim", "logger.more"),
)


@pytest.mark.parametrize("place", some(PLACES, ["data", "model.ff_dim", "logger.more"]))
def test_a_target_anywhere_in_a_config_is_not_called(
    place: str, run: Path, mark: Path, cli: Callable[..., Any]
) -> None:
    def plant(config: dict[str, Any]) -> None:
        *above, last = place.split(".")
        for name in above:
            config = config[name]
        config[last] = {"_target_": "os.system", "command": f"touch {mark}"}

    change_config(run, plant)
    said = by("train", "resume={run}")(run, cli)
    assert not mark.exists()
    assert place in said
    assert "os.system" in said


def test_a_targets_module_is_not_even_imported(
    run: Path, mark: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`allow` in the folder's config counts for nothing; on the command line it does."""
    (run.parent / "planted_net.py").write_text(
        f"import pathlib, torch\npathlib.Path({str(mark)!r}).touch()\nclass Net(torch.nn.Module): ...\n"
    )
    monkeypatch.syspath_prepend(run.parent)
    change_config(run, lambda config: config.update(model={"_target_": "planted_net.Net"}, allow=["planted_net"]))
    for door in ANY_CONFIG.values():
        assert "model._target_=planted_net.Net " in door(run, cli)
    assert not mark.exists()
    by("generate", "run={run}", "allow=[planted_net]", "x")(run, cli)  # a Net that lacks all that a network needs
    assert mark.exists()


def test_what_hydra_itself_would_instantiate_is_dropped(run: Path, mark: Path, cli: Callable[..., Any]) -> None:
    node = {"_target_": "os.system", "command": f"touch {mark}"}
    formatter = {"()": "os.system", "command": f"touch {mark}"}
    logging = {"version": 1, "formatters": {"planted": formatter}}
    planted = {"launcher": node, "sweeper": node, "callbacks": {"planted": node}, "job_logging": logging}
    change_config(run, lambda config: config.update(hydra=planted, defaults=[{"override hydra/launcher": "planted"}]))
    for words in (("eval", f"run={run}"), ("train", f"resume={run}", "trainer.max_steps=7")):
        done = cli(*words)
        assert (done.code, done.err) == (0, "")
    assert not mark.exists()


@pytest.mark.parametrize("door", ANY_CONFIG.values(), ids=ANY_CONFIG.keys())
def test_a_config_cannot_use_resolvers_that_act(door: Door, run: Path, cli: Callable[..., Any]) -> None:
    place = run.parent / "made"
    change_config(run, lambda config: config["model"].update(ff_dim=f"${{new_folder:{place}}}"))
    assert "refers to ${new_folder:" in door(run, cli)
    assert not place.exists()


def test_a_tag_in_yaml_makes_no_object(run: Path, mark: Path, cli: Callable[..., Any]) -> None:
    (run / "config.yaml").write_text(f"manyheads: !!python/object/apply:os.system ['touch {mark}']\n")
    for door in (RESUME, EVAL):
        assert "config.yaml cannot be read as a config" in door(run, cli)
    assert not mark.exists()


def test_a_script_in_a_copy_of_a_data_set_does_not_run(cli: Callable[..., Any], tmp_path: Path, mark: Path) -> None:
    """`datasets` before 4 ran NAME/NAME.py."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "planted.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    done = cli("train", "data=hub", f"data.name={tmp_path / 'planted'}", "tokenizer=byte", "logger=csv")
    assert not mark.exists()
    assert done.code == 1
    assert len(done.err.splitlines()) <= 2, done.err


# a path that climbs out of the folder


@pytest.mark.parametrize("name", ["../../outside", "../../outside.ckpt", "{here}/outside", "../checkpoints/best"])
def test_no_name_of_a_checkpoint_leads_out_of_the_folder(name: str, run: Path, cli: Callable[..., Any]) -> None:
    shutil.copy(run / "checkpoints" / "best.ckpt", run.parent / "outside.ckpt")
    name = name.format(here=run.parent)
    for verb in ("eval", "generate"):
        assert f"checkpoint={name} is not in " in by(verb, "run={run}", f"checkpoint={name}")(run, cli)
    said = by("train", "data=pydocs", "tokenizer=byte", "logger=csv", "init={run}", f"checkpoint={name}")(run, cli)
    assert f"checkpoint={name} is not in " in said
    with pytest.raises(UserError, match="is not in"):
        manyheads.load(run, checkpoint=name)


def test_keys_of_a_foreign_config_that_name_places_count_for_nothing(run: Path, cli: Callable[..., Any]) -> None:
    outside = run.parent / "outside"
    keys = {"to": str(outside), "checkpoint": "../../outside", "run": str(outside), "resume": str(outside), "init": "x"}
    change_config(run, lambda config: config.update(keys))
    assert cli("eval", f"run={run}").code == 0
    assert cli("train", f"resume={run}", "trainer.max_steps=7").code == 0
    assert not outside.exists()


def test_a_logger_of_lightning_writes_into_the_run_folder_and_nowhere_else(run: Path, cli: Callable[..., Any]) -> None:
    outside = run.parent / "outside"
    target = {"_target_": "pytorch_lightning.loggers.CSVLogger"}
    change_config(run, lambda config: config.update(logger={"x": {**target, "save_dir": str(outside)}}))
    assert f"logger.x.save_dir={outside}: manyheads sets this itself" in RESUME(run, cli)
    change_config(run, lambda config: config.update(logger={"x": target}))
    assert cli("train", f"resume={run}", "trainer.max_steps=7").code == 0
    assert list(run.rglob("version_0/metrics.csv"))
    assert not outside.exists()


@pytest.mark.parametrize("key", ["callbacks.folder", "trainer.folder", "logger.wandb.folder"])
def test_a_config_cannot_say_where_a_run_is_written(key: str, run: Path, cli: Callable[..., Any]) -> None:
    outside = run.parent / "outside"

    def plant(config: dict[str, Any]) -> None:
        config["logger"] = {"wandb": {"_target_": "manyheads.logger.wandb.wandb"}}
        *above, name = key.split(".")
        for part in above:
            config = config[part]
        config[name] = str(outside)

    change_config(run, plant)
    assert f"{key}={outside}" in RESUME(run, cli)
    assert not outside.exists()


ENTRIES = ("config.yaml", "train.log", "metrics.csv", "results.json", "checkpoints", "checkpoints/last.ckpt",
           "checkpoints/best.ckpt", "export", "predictions")  # fmt: skip


@pytest.mark.parametrize("name", some(ENTRIES, ["train.log", "checkpoints"]))
def test_a_resumed_run_does_not_write_through_a_link(name: str, run: Path, cli: Callable[..., Any]) -> None:
    outside = run.parent / "outside"
    (run / name).rename(outside)
    (run / name).symlink_to(outside)

    def content() -> dict[str, bytes]:
        files = [outside] if outside.is_file() else sorted(outside.rglob("*"))
        return {str(path): path.read_bytes() for path in files}

    before = content()
    said = RESUME(run, cli)
    assert f"{name} is a link to {outside}, outside of the folder" in said
    assert content() == before


def test_a_link_within_the_folder_is_no_danger(run: Path, cli: Callable[..., Any]) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    (run / "checkpoints" / "best.ckpt").symlink_to("last.ckpt")
    done = cli("train", f"resume={run}", "trainer.max_steps=7")
    assert (done.code, done.err) == (0, "")


@pytest.mark.slow
def test_the_id_of_a_wandb_run_is_no_path(run: Path, cli: Callable[..., Any]) -> None:
    results = json.loads((run / "results.json").read_text())
    results["run"]["wandb_id"] = "../../../outside"
    (run / "results.json").write_text(json.dumps(results))
    done = cli("train", f"resume={run}", "trainer.max_steps=7", "logger=wandb")
    assert (done.code, done.err) == (0, "")
    assert not list(run.parent.rglob("*outside*"))
    assert list(run.glob("wandb/*-run-*"))


@pytest.mark.slow
def test_a_choice_in_a_folder_of_its_group_names_one_run_folder(
    cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "more" / "model" / "my").mkdir(parents=True)
    node = {"_target_": "manyheads.model.decoder.Decoder"}
    (tmp_path / "more" / "model" / "my" / "net.yaml").write_text(yaml.safe_dump(node))
    for choice, name in (("my/net", "my-net"), ("../model/tiny", "..-model-tiny")):
        done = cli("train", "--config-dir", "more", *tiny, f"model={choice}", "trainer.max_steps=1")
        assert done.code == 0, done.err
        assert done.folder.parent == tmp_path / "outputs" / "runs"
        assert done.folder.name.endswith(f"-generation-{name}")
