"""Guards: a pair that cannot work, or numbers that do not fit, found out only after the data was read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from manyheads import compatibility
from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.run.compose import compose
from manyheads.testing import ScriptedHead


class Bidirectional(nn.Module):
    """A network whose positions see what comes after them."""

    kind: ClassVar[str] = "bidirectional"

    def __init__(self, *, vocab_size: int) -> None:
        super().__init__()


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


def test_a_head_that_the_task_cannot_use_names_those_that_it_can() -> None:
    target = f"head._target_={ScriptedHead.__module__}.{ScriptedHead.__qualname__}"
    assert error_of(target) == "head=next_token does not fit task=generation. Set head=next_token."


def test_a_network_of_another_kind_names_those_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it will be when an encoder is chosen with the head of a language model."""
    config, choices = compose("train", [], CONF_DIR)
    monkeypatch.setattr(NextToken, "kinds", frozenset({"causal", "recurrent"}))
    monkeypatch.setattr(compatibility, "check_shape", lambda cfg, allow: Bidirectional(vocab_size=8))
    with pytest.raises(UserError) as caught:
        compatibility.check(config, {**choices, "model": "bert"})
    assert str(caught.value) == (
        "model=bert is bidirectional, and head=next_token needs causal or recurrent. "
        "Set model=gpt2 or model=llama_1b or model=llama_8b or model=lstm or model=nano or model=small or model=tiny or "
        "model=transformer_512."
    )


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
