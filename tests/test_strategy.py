"""Guards: an argument of a strategy that does not reach its class, and a strategy that is not the one that was named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.strategies import DDPStrategy

from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.fully_sharded import FullySharded
from manyheads.run.compose import compose
from manyheads.strategy import build_strategy, make_strategy
from manyheads.trainer import trainer


@pytest.mark.parametrize(
    "words",
    [
        ["trainer=fsdp", "+trainer.strategy_options.cpu_offload=true"],
        ["trainer.strategy=fsdp", "+trainer.strategy_options.cpu_offload=true"],
    ],
)
def test_both_ways_to_write_it(words: list[str]) -> None:
    cfg = compose("train", words, CONF_DIR).config
    assert cfg.trainer.strategy == "fsdp"
    assert cfg.trainer.strategy_options == {"cpu_offload": True}


@pytest.mark.parametrize("options", [None, {}, {"cpu_offload": False}, {"cpu_offload": True}])
def test_cpu_offload_reaches_our_strategy(options: Any) -> None:
    made = make_strategy("fsdp", options)
    assert type(made) is FullySharded
    assert made.cpu_offload is bool(options and options["cpu_offload"])


def test_what_lightnings_name_stands_for_is_kept() -> None:
    """ddp_find_unused_parameters_true is DDP with an argument; more arguments come on top."""
    made = make_strategy("ddp_find_unused_parameters_true", {"static_graph": True})
    assert isinstance(made, DDPStrategy)
    assert made._ddp_kwargs == {"find_unused_parameters": True, "static_graph": True}
    assert made._start_method == "popen"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("fsdpp", None, "trainer.strategy=fsdpp is no strategy of Lightning. Did you mean 'fsdp'"),
        ("fsdp_cpu_offload", None, "trainer.strategy=fsdp_cpu_offload is no strategy of Lightning."),
        ("auto", {"cpu_offload": True}, "belongs to a strategy that is named: set trainer.strategy too."),
        ("ddp", {"static_grap": True}, "trainer.strategy_options.static_grap=True is no argument of DDPStrategy."),
        ("fsdp", {"static_graph": True}, "trainer.strategy_options.static_graph=True is no argument of FullySharded."),
        ("fsdp", {"cpu_offload": "some"}, "trainer.strategy_options.cpu_offload=some: set true or false."),
    ],
)
def test_mistakes_are_named(name: str, options: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        trainer(folder=tmp_path, accelerator="cpu", devices=1, max_steps=1, strategy=name, strategy_options=options)
    assert text in str(told.value)
    assert len(str(told.value).splitlines()) <= 2


def test_a_misspelt_argument_of_fsdp() -> None:
    with pytest.raises(UserError, match=r"cpu_ofload=True is no argument of FullySharded\. Did you mean 'cpu_offload'"):
        build_strategy(FullySharded, {"cpu_ofload": True})


def test_a_finder_of_the_learning_rate_is_refused_before_data_is_read(cli: Any) -> None:
    done = cli("train", "trainer=fsdp", "trainer.devices=1", "debug=find_lr", "data=text", "data.path=nowhere")
    assert done.code == 1
    assert "callbacks.find_lr=true does not go with trainer.strategy=fsdp: set trainer=auto." in done.err
    assert done.folders == []
