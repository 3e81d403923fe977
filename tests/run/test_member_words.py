"""Guards: the last member's head and network for the whole run, silently; and a choice of the user's that is overruled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from manyheads.build import CONF_DIR
from manyheads.run.compose import compose

TOPICS, TEXT = "+task@task.members.topics=classification", "+task@task.members.text=masked"


def found(*words: str, config_dir: Path | None = None) -> dict[str, Any]:
    config, choices = compose("train", list(words), CONF_DIR, None, config_dir and str(config_dir))
    heads = {name: choices.get(f"head@task.members.{name}.head") for name in config.task.members}
    for name, node in config.task.members.items():
        assert "_target_" in node.head, name
    return {"head": choices["head"], "model": choices["model"], **heads}


def test_members_take_the_heads_that_their_tasks_take_alone_whatever_their_order() -> None:
    expected = {"head": "members", "model": "encoder", "topics": "label", "text": "masked_token"}
    assert found("task=mixture", TOPICS, TEXT) == found("task=mixture", TEXT, TOPICS) == expected
    assert found(TEXT, TOPICS, "task=mixture") == expected


def test_what_is_chosen_stays() -> None:
    chosen = found("task=mixture", TOPICS, TEXT, "+head@task.members.topics.head=next_token", "model=bert")
    assert chosen == {"head": "members", "model": "bert", "topics": "next_token", "text": "masked_token"}


def test_tasks_that_take_different_networks_leave_the_one_of_train_yaml() -> None:
    chosen = found("task=mixture", TOPICS, "+task@task.members.text=generation")
    assert chosen == {"head": "members", "model": "tiny", "topics": "label", "text": "next_token"}


def test_a_yaml_of_ones_own_needs_no_more_words(tmp_path: Path) -> None:
    """The lines that the comment of conf/task/mixture.yaml shows."""
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "my_mixture.yaml").write_text(
        "defaults: [mixture, classification@members.topics, masked@members.text, _self_]\nweights: {topics: 1, text: 2}\n"
    )
    chosen = found("task=my_mixture", config_dir=tmp_path)
    assert chosen == {"head": "members", "model": "encoder", "topics": "label", "text": "masked_token"}


def test_a_recipe_names_members_and_its_own_network(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "two.yaml").write_text(
        "# @package _global_\ndefaults:\n  - /task@task.members.topics: classification\n"
        "  - /task@task.members.text: masked\n  - /head@task.members.topics.head: next_token\n"
        "  - override /task: mixture\n  - override /model: bert\n"
    )
    chosen = found("experiment=two", config_dir=tmp_path)
    assert chosen == {"head": "members", "model": "bert", "topics": "next_token", "text": "masked_token"}


def test_the_own_yaml_of_a_task_is_read_through_what_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("defaults: [classification, _self_]\nbatch_size: 3\n")
    chosen = found("task=mixture", "+task@task.members.a=mine", TEXT, config_dir=tmp_path)
    assert chosen == {"head": "members", "model": "encoder", "a": "label", "text": "masked_token"}


def test_data_and_tokenizer_of_a_tasks_yaml_are_the_members_and_the_runs(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text(
        "defaults:\n  - classification\n  - _self_\n  - override /data@_global_.data: ag_news\n"
        "  - override /tokenizer@_global_.tokenizer: byte\n"
    )
    words = ["task=mixture", "+task@task.members.a=mine"]
    config, choices = compose("train", [*words, TEXT], CONF_DIR, None, str(tmp_path))
    assert (choices["data"], choices["data@task.members.a.data"], choices["tokenizer"]) == ("pydocs", "ag_news", "bpe")
    assert "data" not in config.task.members.text
    both = compose("train", [*words, "+task@task.members.b=mine"], CONF_DIR, None, str(tmp_path)).choices
    assert both["tokenizer"] == "byte"


def test_cfg_shows_the_same_and_needs_no_torch() -> None:
    code = (
        "import sys; from manyheads.cli import main; "
        f"main(['train', 'task=mixture', '{TOPICS}', '{TEXT}', '--cfg', 'job']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = OmegaConf.create(done.stdout)
    assert printed.task.members.topics.head._target_.endswith("Label")
    assert printed.head._target_.endswith("Members")


def test_words_without_members_stay_as_they_are() -> None:
    config, choices = compose("train", ["task=classification"], CONF_DIR)
    assert (choices["head"], choices["model"]) == ("label", "encoder")
    assert "members" not in config.task
    with pytest.raises(KeyError):
        choices["head@task.members.topics.head"]
