"""Guards: a pair that cannot work, or numbers that do not fit, found out only after the data was read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from manyheads import compatibility
from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.run.compose import compose
from manyheads.testing import ScriptedHead


def checked(*overrides: str, choices: dict[str, str] | None = None, allow: tuple[str, ...] = ()) -> DictConfig:
    config, chosen = compose("train", list(overrides), CONF_DIR)
    compatibility.check(config, choices or chosen, allow)
    return config


def error_of(*overrides: str, allow: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as caught:
        checked(*overrides, allow=allow)
    return str(caught.value)


def test_what_goes_together_passes_and_reads_no_data(tmp_path: Path) -> None:
    """A data file that is not there would raise as soon as it was looked for."""
    checked("data=text", f"data.path={tmp_path}/absent.txt")
    checked("model=gpt2", "optim=adamw")


def test_a_head_that_the_task_cannot_use_names_those_that_it_can_and_its_own_tasks() -> None:
    target = f"head._target_={ScriptedHead.__module__}.{ScriptedHead.__qualname__}"
    assert error_of(target) == "head=next_token does not fit task=generation. Set head=next_token."
    text = error_of("head=label")
    assert text.startswith("head=label does not fit task=generation. Set head=next_token, or task=classification")
    assert error_of("task=masked", "head=label").startswith(
        "head=label does not fit task=masked. Set head=masked_token, or task=classification"
    )


def test_a_network_of_another_kind_names_those_that_fit_and_tasks_that_go_with_it() -> None:
    text = error_of("model=bert")
    assert text.startswith(
        "model=bert is bidirectional, and head=next_token needs causal or counting or encoder-decoder: its positions see "
        "the token that comes next. Set model=tiny or model=bag_of_embeddings or "
    )
    assert "model=bert or" not in text
    assert "task=classification head=label" in text.rpartition(", or ")[2]


def test_a_kind_of_network_that_a_task_gives_nothing_to_read() -> None:
    text = error_of("model=encoder_decoder")
    assert text.startswith(
        "model=encoder_decoder is encoder-decoder, and task=generation has no use for that: a text alone leaves its encoder "
        "nothing to read. Set model=tiny or model=bag_of_embeddings or "
    )
    assert "task=summarization or task=translation" in text


def test_where_two_have_to_go_both_are_named() -> None:
    """Neither another head nor another network alone would do, so that the next command would fail again."""
    text = error_of("head=label", "model=encoder_decoder")
    assert text.startswith(
        "head=label does not fit task=generation. Set head=next_token with model=tiny or model=bag_of_embeddings or model="
    )


@pytest.mark.slow
def test_what_an_error_names_passes() -> None:
    """Guards: a remedy that the next command is refused for."""
    words = error_of("task=classification", "model=encoder_decoder").partition(" Set ")[2].removesuffix(".")
    ways = [way for group in words.split(", or ") for way in group.split(" or ")]
    assert len(ways) > 5
    for way in ways:
        target = {"task": "classification", "model": "encoder_decoder"}
        target |= dict(word.split("=") for word in way.split())
        checked(*(f"{group}={name}" for group, name in target.items()), "++task.seq_len=null")


def test_a_network_whose_class_says_no_kind_is_built_to_ask_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: nets_of_mine.Net\nforwards: true\n", encoding="utf-8")
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self, vocab_size, forwards):\n"
        "        super().__init__()\n        self.kind = 'causal' if forwards else 'bidirectional'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compatibility.kinds_of_models([tmp_path], ["nets_of_mine"]) == {"mine": "causal"}


def test_a_monitor_that_nothing_measures() -> None:
    assert error_of("callbacks.monitor=val/acc").startswith(
        "callbacks.monitor=val/acc is not measured; set one of val/loss"
    )


def test_a_width_that_does_not_divide() -> None:
    assert error_of("model.dim=130", "model.num_heads=4").startswith(
        "model.dim=130 does not divide by model.num_heads=4"
    )


def test_rows_longer_than_the_learned_positions() -> None:
    assert error_of("model=gpt2", "task.seq_len=2048") == (
        "task.seq_len=2048 is longer than the network's positions. Set task.seq_len=1024 or less, or "
        "model.max_positions=2048."
    )
    checked("model=gpt2", "task.seq_len=1024")
    assert error_of("model=gpt2", "task=chat", "task.max_tokens=2048").startswith("task.max_tokens=2048 is longer than")


def test_a_rate_out_of_range() -> None:
    assert error_of("optim.lr=-1").startswith("optim.lr=-1: set a number of at least 0.")


def test_no_memory_is_taken_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that does not fit twice must not be made twice: the first is on `meta`."""
    config, _ = compose("train", ["model.dim=8192", "model.num_heads=64", "model.num_layers=96"], CONF_DIR)
    network = compatibility.check_shape(config)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert torch.get_default_device().type == "cpu"


@pytest.mark.slow
def test_rows_that_go_on_need_a_network_that_keeps_a_state() -> None:
    for name in ("lstm", "gru", "rnn", "linear_attention"):
        checked(f"model={name}", "task.carry=true")
    ways = "Set model=gru or model=linear_attention or model=lstm or model=rnn, or task.carry=false."
    for name, kind in (("tiny", "Decoder"), ("feedforward", "Feedforward")):
        assert error_of(f"model={name}", "task.carry=true") == (
            f"task.carry=true: rows go on with the state of the row before, and a {kind} that is causal keeps none. {ways}"
        )
    assert "a LSTM that is bidirectional keeps none" in error_of(
        "model=lstm", "model.bidirectional=true", "task.carry=true"
    )


def test_a_member_of_a_mixture_has_no_rows_that_go_on() -> None:
    members = ["task=mixture", "+task@task.members.one=generation", "+task@task.members.two=generation"]
    assert error_of(*members, "model=lstm", "++task.members.two.carry=true") == (
        "task.members.two.carry=true: the steps of a mixture are of its members in turn. Set it to false."
    )
