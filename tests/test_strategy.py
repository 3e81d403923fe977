"""Guards: an argument of a strategy that does not reach Lightning, and a GPU that is missed after long work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy

from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.run.compose import compose
from manyheads.strategy import build_strategy, make_strategy
from manyheads.trainer import trainer


@pytest.mark.parametrize(
    "words", [["trainer=fsdp"], ["trainer.strategy=fsdp", "+trainer.strategy_options.cpu_offload=true"]]
)
def test_both_ways_to_write_it(words: list[str]) -> None:
    cfg = compose("train", [*words, "++trainer.strategy_options.cpu_offload=true"], CONF_DIR).config
    assert cfg.trainer.strategy == "fsdp"
    assert cfg.trainer.strategy_options == {"cpu_offload": True}


def test_cpu_offload_reaches_lightnings_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    made = make_strategy("fsdp", {"cpu_offload": True, "limit_all_gathers": False}, "gpu")
    assert isinstance(made, FSDPStrategy)
    assert made.cpu_offload is not None
    assert made.cpu_offload.offload_params
    assert made.kwargs["limit_all_gathers"] is False  # an argument of torch's own class


def test_what_lightnings_name_stands_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """ddp_find_unused_parameters_true is DDP with an argument; more arguments come on top."""
    made = make_strategy("ddp_find_unused_parameters_true", {"static_graph": True}, "cpu")
    assert isinstance(made, DDPStrategy)
    assert made._ddp_kwargs == {"find_unused_parameters": True, "static_graph": True}
    assert made._start_method == "popen"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("fsdpp", None, "trainer.strategy=fsdpp is no strategy of Lightning. Did you mean 'fsdp'"),
        ("auto", {"cpu_offload": True}, "belongs to a strategy that is named: set trainer.strategy too."),
        ("fsdp", {"cpu_offload": True}, "trainer.strategy=fsdp needs a GPU, and this run is on the CPU. Set"),
        ("fsdp_cpu_offload", None, "trainer.strategy=fsdp_cpu_offload needs a GPU"),
        ("ddp", {"static_grap": True}, "trainer.strategy_options.static_grap=True is no argument of DDPStrategy."),
    ],
)
def test_mistakes_are_named(name: str, options: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        trainer(folder=tmp_path, accelerator="cpu", devices=1, max_steps=1, strategy=name, strategy_options=options)
    assert text in str(told.value)
    assert len(str(told.value).splitlines()) <= 2


def test_a_misspelt_argument_of_fsdp() -> None:
    with pytest.raises(UserError, match=r"cpu_ofload=True is no argument of FSDPStrategy\. Did you mean 'cpu_offload'"):
        build_strategy(FSDPStrategy, {"cpu_ofload": True})


def test_a_run_on_the_cpu_is_refused_before_data_is_read(cli: Any) -> None:
    done = cli(
        "train", "trainer.strategy=fsdp", "+trainer.strategy_options={cpu_offload: true}", "trainer.accelerator=cpu"
    )
    assert done.code == 1
    assert done.err.startswith("error: trainer.strategy=fsdp needs a GPU")
    assert done.folders == []
