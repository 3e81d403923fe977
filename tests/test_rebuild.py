"""Guards: weights that go into a network of another shape, and a task that is not told what it needs to know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.head.label import Label
from manyheads.rebuild import build_task, load_weights, rebuild
from manyheads.run.compose import compose
from manyheads.task.layouts import FromLeftToRight, WithEncoder
from manyheads.task.translation import Translation
from manyheads.testing import Rows, byte_tokenizer, tiny_network, tiny_run

TOKENIZER = byte_tokenizer()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny_run(tmp_path / "run", checkpoints={"best": 1, "last": 2})


def weights(seed: int) -> torch.Tensor:
    return tiny_network(TOKENIZER.vocab_size, seed=seed)[0].embedding.weight


def test_weights_go_into_modules_of_the_same_shape_alone(run: Path) -> None:
    network, head = tiny_network(257, seed=9)
    load_weights(run, None, network, head)
    assert torch.equal(network.embedding.weight, weights(1))
    with pytest.raises(UserError, match=r"network\.embedding\.weight is \[257, 16\] there and \[300, 16\] here"):
        load_weights(run, None, *tiny_network(300))
    with pytest.raises(UserError, match=r"lacks network\.blocks\.2\."):
        load_weights(run, None, *tiny_network(257, num_layers=3))
    with pytest.raises(UserError, match=r"holds network\.blocks\.1\..*of another network"):
        load_weights(run, None, *tiny_network(257, num_layers=1))
    with pytest.raises(UserError, match="init=nowhere: there is no such folder"):
        load_weights("nowhere", None, network, head)


@pytest.mark.parametrize(("model", "layout"), [("tiny", FromLeftToRight), ("encoder_decoder", WithEncoder)])
def test_a_task_is_told_what_kind_of_network_there_is(model: str, layout: type) -> None:
    config, _ = compose("train", ["task=translation", f"model={model}"], CONF_DIR)
    rows = [{"source": "a", "target": "b"}]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Translation.fields)
    task = build_task(config, source, TOKENIZER)
    assert isinstance(task, Translation)
    assert type(task.layout) is layout


def test_double_precision_is_there_from_the_start() -> None:
    config, _ = compose("train", ["model=nano", "trainer.precision=64-true"], CONF_DIR)
    network, head = rebuild(config, TOKENIZER)
    assert {p.dtype for p in (*network.parameters(), *head.parameters())} == {torch.float64}


def test_a_head_of_another_class_starts_anew(run: Path) -> None:
    """The network's weights are the run's, the head's are as they were; what was left out is told."""
    network, _ = tiny_network(257, seed=9)
    head = Label(dim=16, labels=["a", "b"])
    before = {name: value.clone() for name, value in head.state_dict().items()}
    (note,) = load_weights(run, None, network, head)
    assert note == f"the network starts from {run}; the head, Label, starts anew: that run's was NextToken"
    assert torch.equal(network.embedding.weight, weights(1))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert load_weights(run, None, *tiny_network(257)) == []
