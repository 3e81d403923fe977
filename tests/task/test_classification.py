"""Guards: a class that changes its number, a text cut without being told, labels of no class, scores of other rows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from manyheads.errors import UserError
from manyheads.head.label import Label
from manyheads.task.base import Scored
from manyheads.task.classification import Classification
from manyheads.testing import Rows, byte_tokenizer

END = byte_tokenizer().end_id


def make(rows: list[dict[str, Any]], test: list[dict[str, Any]] | None = None, **settings: Any) -> Classification:
    source = Rows({"train": rows, "validation": rows, "test": test or rows})
    source.ask(Classification.fields)
    return Classification(source=source, tokenizer=byte_tokenizer(), seed=1, kind="causal", reads="classes", **settings)


ROWS = [{"text": "good", "label": "yes"}, {"text": "bad one", "label": "no"}, {"text": "fine", "label": "yes"}]


def test_classes_are_those_of_train_sorted_and_become_settings_of_task_and_head() -> None:
    task = make(ROWS)
    assert task.labels == ["no", "yes"]
    assert task.found == {
        "task": {"labels": ["no", "yes"], "several": False},
        "head": {"labels": ["no", "yes"], "several": False},
    }


def test_numbers_are_sorted_as_numbers_and_named_by_them() -> None:
    assert make([{"text": "a", "label": label} for label in (10, 9, 2)]).labels == ["2", "9", "10"]


def test_a_batch_has_the_texts_after_an_end_token_and_their_classes() -> None:
    task = make(ROWS, batch_size=3)
    (batch,) = list(task.test_dataloader())
    assert batch["input_ids"].tolist() == [
        [END, *b"bad one"],
        [END, *b"good", END, END, END],
        [END, *b"fine", END, END, END],
    ]
    assert batch["segments"].tolist() == [[1] * 8, [1] * 5 + [0] * 3, [1] * 5 + [0] * 3]
    assert batch["classes"].tolist() == [0, 1, 1]
    assert batch["examples"].tolist() == [1, 0, 2]
    assert int(batch["num_tokens"]) == 18


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_every_example_is_scored_once_whatever_the_batch_size(batch_size: int) -> None:
    batches = list(make(ROWS, eval_batch_size=batch_size).test_dataloader())
    pairs = [
        pair for batch in batches for pair in zip(batch["examples"].tolist(), batch["classes"].tolist(), strict=True)
    ]
    assert sorted(pairs) == [(0, 1), (1, 0), (2, 1)]


def test_pairs_share_the_room_the_longer_text_giving_way_first() -> None:
    rows = [
        {"text": "abcdef", "text_pair": "xy", "label": 0},
        {"text": "ab", "text_pair": "uvwxyz", "label": 1},
        {"text": "abcdef", "text_pair": "uvwxyz", "label": 0},
        {"text": "a", "text_pair": "x", "label": 1},
    ]
    task = make(rows, max_tokens=8)
    found = [task.store("train")["tokens"][i].tolist() for i in range(4)]
    assert found == [
        [END, *b"abcd", END, *b"xy"],
        [END, *b"ab", END, *b"uvwx"],
        [END, *b"abc", END, *b"uvw"],
        [END, *b"a", END, *b"x"],
    ]
    assert task.store("train")["lost"].values.tolist() == [2, 2, 6, 0]


def test_what_is_left_out_is_told() -> None:
    task = make(ROWS, max_tokens=5)
    task.prepare()
    assert task.notes == [
        f"1 of 3 texts of {split} are longer than task.max_tokens=5: their ends were left out, 3 tokens"
        for split in ("train", "validation", "test")
    ]


def test_scores_are_those_of_the_examples_that_were_read() -> None:
    task = make(ROWS)
    right = {0: [0.1, 0.9], 1: [0.8, 0.2], 2: [0.4, 0.6]}
    assert task.scores("test", right)["accuracy"] == 1.0
    assert task.scores("test", {**right, 1: [0.2, 0.8]})["accuracy"] == pytest.approx(2 / 3)
    assert task.scores("test", {2: [0.9, 0.1]})["accuracy"] == 0.0
    assert math.isnan(task.scores("test", {})["accuracy"])


def test_predictions_name_classes() -> None:
    task = make(ROWS)
    lines = list(task.predictions(Scored({0: 0.5, 2: 0.25}, {0: 1, 2: 1}, {2: [0.9, 0.1], 0: [0.1, 0.9]})))
    assert lines == [
        {
            "id": 0,
            "input": "good",
            "target": "yes",
            "output": "yes",
            "probabilities": {"no": 0.1, "yes": 0.9},
            "score": {"accuracy": 1.0},
            "loss": 0.5,
        },
        {
            "id": 2,
            "input": "fine",
            "target": "yes",
            "output": "no",
            "probabilities": {"no": 0.9, "yes": 0.1},
            "score": {"accuracy": 0.0},
            "loss": 0.25,
        },
    ]


def test_lists_are_several_labels() -> None:
    rows = [{"text": "a", "label": ["x", "z"]}, {"text": "b", "label": []}, {"text": "c", "label": ["y"]}]
    task = make(rows, batch_size=3)
    assert task.several
    assert task.labels == ["x", "y", "z"]
    (batch,) = list(task.test_dataloader())
    assert batch["classes"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert task.shown([0.9, 0.1, 0.6]) == ["x", "z"]
    assert task.targets(task.source.rows("test")[:]) == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_balance_weighs_a_class_by_how_rare_it_is() -> None:
    task = make(ROWS, balance="balanced")
    task.prepare()
    assert task.found["head"]["class_weights"] == [1.5, 0.75]


def test_read_gives_the_probabilities_of_the_head() -> None:
    task = make(ROWS, batch_size=3)
    (batch,) = list(task.test_dataloader())
    head = Label(dim=4, labels=task.labels)
    hidden = torch.randn(3, 8, 4)
    assert task.read(torch.nn.Identity(), head, batch, hidden) == head.probabilities(hidden, batch).double().tolist()


@pytest.mark.parametrize(
    ("rows", "test", "text"),
    [
        ([{"text": "a", "label": 1}, {"text": "b", "label": 1}], None, "train has one class alone, 1"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": None}], None, "row 1 of train has no label"),
        (
            ROWS,
            [{"text": "a", "label": "perhaps"}],
            "row 0 of test: label=perhaps is none of the 2 classes of train or task.labels: no, yes",
        ),
        (ROWS, [{"text": "a", "label": "yess"}], "Did you mean 'yes'"),
        ([{"text": "a", "label": 0.5}, {"text": "b", "label": 1.5}], None, "the column label holds float"),
    ],
)
def test_labels_that_are_none_are_told(rows: list[dict[str, Any]], test: Any, text: str) -> None:
    with pytest.raises(UserError) as caught:
        make(rows, test).prepare()
    assert text in str(caught.value)


def test_classes_can_be_given_so_that_a_test_may_have_one_that_train_lacks() -> None:
    task = make(ROWS, [{"text": "a", "label": "perhaps"}], labels=["no", "perhaps", "yes"])
    task.prepare()
    assert task.store("test")["classes"][0].tolist() == [1]
