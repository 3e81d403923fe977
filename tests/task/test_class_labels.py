"""Guards a column that holds no classes and ends in a traceback, and names in another order than the data's."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.data.ragged import RowError
from manyheads.errors import UserError
from manyheads.task.class_labels import labels_of, name_of, second_texts
from manyheads.task.classification import Classification
from manyheads.testing import Rows


def source(labels: list[Any]) -> Rows:
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    made = Rows({"train": rows, "validation": rows, "test": rows})
    made.ask(Classification.fields)
    return made


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["b", "a", "b"], ["a", "b"]), ([2, 10, 1], ["1", "2", "10"]), ([["x", "y"], [], ["y"]], ["x", "y"])],
)
def test_classes_are_those_of_train_in_order(labels: list[Any], expected: list[str]) -> None:
    assert labels_of(source(labels)) == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"name": "a"}, {"name": "b"}], "row 0 of train: label={'name': 'a'} is neither a class nor a list of classes. Set "
         "data.columns.label to the column of the classes."),
        ([[["a"]], [["b"]]], "row 0 of train: label=[['a']] is neither a class nor a list of classes."),
        (["a", None], "row 1 of train has no label. Leave it out, or mend it."),
        ([0.5, 1.5], "a label is a whole number or a text, and the column label holds float."),
    ],
)  # fmt: skip
def test_what_is_no_class_is_said(labels: list[Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        labels_of(source(labels))
    assert message in str(caught.value)


def test_a_number_stands_for_the_name_that_the_data_gives_it() -> None:
    assert [name_of(value, ["no", "yes"]) for value in (0, 1, "yes")] == ["no", "yes", "yes"]
    assert name_of(2, ["no", "yes"]) == "2"


def test_a_second_text_that_is_none_is_said() -> None:
    assert second_texts(["a", None]) == ["a", ""]
    with pytest.raises(RowError, match="text_pair=3 is no text"):
        second_texts(["a", 3])
