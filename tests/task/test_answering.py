"""Guards: an answer at another row's place, answers that depend on their neighbours, and targets that are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.data.columns import Columns
from manyheads.data.given import given_rows
from manyheads.head.label import Label
from manyheads.model.encoder import Encoder
from manyheads.task import answering
from manyheads.task.classification import Classification
from manyheads.task.generation import Generation
from manyheads.testing import byte_tokenizer, tiny_network, uniform

TEXTS = ["ab", "a" * 30, "", "éa", "b a b", "c" * 7] * 5


def classifier() -> tuple[Encoder, Label]:
    torch.manual_seed(3)
    network = Encoder(vocab_size=257, dim=16, num_layers=1, num_heads=2, init_std=0.5)
    return network, Label(dim=16, labels=["no", "yes"], init_std=1.0)


def ask(rows: list[dict[str, Any]], **settings: Any) -> list[dict[str, Any]]:
    source = given_rows(rows, Columns())
    source.ask(Classification.asked)
    made = {"labels": ["no", "yes"], "several": False, **settings}
    task = Classification(
        source=source, tokenizer=byte_tokenizer(), seed=1, kind="bidirectional", reads="classes", **made
    )
    return [dict(line) for line in task.answers(*classifier())]


@pytest.mark.parametrize(("batch_size", "part"), [(1, 1024), (7, 1024), (64, 1024), (4, 5)])
def test_answers_are_in_order_whatever_is_read_side_by_side(
    batch_size: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "EXAMPLES", part)
    found = ask([{"text": text} for text in TEXTS], eval_batch_size=batch_size)
    assert [line["id"] for line in found] == list(range(len(TEXTS)))
    assert [line["input"] for line in found] == TEXTS
    alone = [ask([{"text": text}])[0]["probabilities"]["yes"] for text in TEXTS[:6]]
    np.testing.assert_allclose([line["probabilities"]["yes"] for line in found[:6]], alone, atol=1e-6)
    assert len({round(value, 4) for value in alone}) > 3  # the network tells them apart


def test_without_a_target_there_is_neither_loss_nor_score() -> None:
    (line,) = ask([{"text": "ab"}])
    assert list(line) == ["id", "input", "output", "probabilities"]
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert line["output"] == max(line["probabilities"], key=line["probabilities"].get)


def test_with_a_target_its_loss_and_score_are_those_of_the_probability() -> None:
    for target in ("no", "yes"):
        (line,) = ask([{"text": "ab", "label": target}])
        assert line["target"] == target
        assert line["loss"] == pytest.approx(-math.log(line["probabilities"][target]), rel=1e-5)
        assert line["score"]["accuracy"] == float(line["output"] == target)


def test_the_modules_are_left_as_they_were() -> None:
    network, head = classifier()
    network.train()
    source = given_rows([{"text": "a"}], Columns())
    source.ask(Classification.asked)
    live: dict[str, Any] = {"source": source, "tokenizer": byte_tokenizer(), "seed": 1, "kind": "bidirectional"}
    task = Classification(**live, reads="classes", labels=["no", "yes"], several=False)
    list(task.answers(network, head))
    assert network.training


def losses(texts: list[str], network: Any, head: Any, **settings: Any) -> list[dict[str, Any]]:
    source = given_rows([{"text": text} for text in texts], Columns())
    task = Generation(source=source, tokenizer=byte_tokenizer(), seed=1, **settings)
    return [dict(line) for line in task.answers(network, head)]


def test_a_text_costs_what_a_uniform_model_says() -> None:
    """ln(257) nats for each byte and for the end."""
    first, empty, last = losses(["abc", "", "é"], *uniform(257), seq_len=8)
    assert first == {
        "id": 0, "input": "abc", "loss": pytest.approx(4 * math.log(257)), "tokens": 4, "bytes": 3,
        "bits_per_byte": pytest.approx(4 / 3 * math.log2(257)),
    }  # fmt: skip
    assert empty == {"id": 1, "input": ""}
    assert (last["tokens"], last["bytes"]) == (3, 2)


def test_windows_of_a_long_text_add_up_to_it() -> None:
    """Guards: a window that is counted for its neighbour."""
    network, head = tiny_network(257)
    texts = ["abcdefghij" * 3, "xy", "z" * 17]
    together = losses(texts, network, head, seq_len=8, batch_size=3)
    alone = [losses([text], network, head, seq_len=8)[0]["loss"] for text in texts]
    assert [line["loss"] for line in together] == pytest.approx(alone, rel=1e-5)
