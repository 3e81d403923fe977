"""Guards: the wrong column taken for a field, one that is not there or of another kind, labels without their names."""

import datasets
import pytest

from manyheads.data.columns import Columns, with_fields
from manyheads.data.fields import TEXT, Fields
from manyheads.errors import UserError

PAIR = Fields(("source", "target"), optional=("references",))
LABELLED = Fields(("text",), ("label",))


def pairs() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"de": ["Hund"], "en": ["dog"], "n": [1]})


def test_the_named_column_wins_over_one_that_is_called_text() -> None:
    rows = datasets.Dataset.from_dict({"text": ["wrong"], "body": ["right"], "n": [1]})
    assert with_fields(rows, TEXT, Columns("body"), "f")[0] == {"text": "right", "n": 1}
    assert with_fields(rows, TEXT, Columns(), "f")[0] == {"text": "wrong", "body": "right", "n": 1}


def test_fields_are_taken_from_the_columns_that_are_named_and_no_others() -> None:
    found = with_fields(pairs(), PAIR, Columns(named={"source": "de", "target": "en"}), "f")
    assert found[0] == {"source": "Hund", "target": "dog"}


def test_an_optional_column_is_taken_along_where_it_is_there() -> None:
    rows = datasets.Dataset.from_dict({"source": ["a"], "target": ["b"], "references": [["b", "c"]]})
    assert with_fields(rows, PAIR, Columns(), "f")[0] == {"source": "a", "target": "b", "references": ["b", "c"]}


def test_a_column_can_be_two_fields() -> None:
    found = with_fields(pairs(), PAIR, Columns(named={"source": "de", "target": "de"}), "f")
    assert found[0] == {"source": "Hund", "target": "Hund"}


def test_a_value_within_mappings_is_named_with_a_dot() -> None:
    rows = datasets.Dataset.from_dict({"translation": [{"de": "Hund", "en": "dog"}]})
    columns = Columns(named={"source": "translation.de", "target": "translation.en"})
    assert with_fields(rows, PAIR, columns, "f")[0] == {"source": "Hund", "target": "dog"}


def test_a_missing_column_is_told_with_those_there_and_the_key() -> None:
    with pytest.raises(UserError) as caught:
        with_fields(pairs(), PAIR, Columns(named={"source": "de"}), "f.csv")
    assert str(caught.value) == (
        "data.columns.target=target is no column of f.csv. It has: de, en, n. "
        "Set data.columns.target to the one that holds the target."
    )


def test_a_column_of_another_kind_is_told() -> None:
    with pytest.raises(
        UserError, match=r"data\.columns\.source=n of f holds no text but int64\. Columns with text: de, en"
    ):
        with_fields(pairs(), PAIR, Columns(named={"source": "n", "target": "en"}), "f")


def test_a_field_that_the_task_does_not_read_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.columns\.sorce: the task reads no sorce\. Did you mean 'source'\?"):
        with_fields(pairs(), PAIR, Columns(named={"sorce": "de"}), "f")


def test_numbers_of_classes_get_names() -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]})
    found = with_fields(rows, LABELLED, Columns(labels=["no", "yes"]), "f")
    assert found.features["label"].names == ["no", "yes"]
    assert found["label"][:] == [1, 0]


def test_too_few_names_of_classes_are_told() -> None:
    rows = datasets.Dataset.from_dict({"text": ["a"], "label": [2]})
    with pytest.raises(UserError, match=r"data\.labels=\[no,yes\] names 2 classes, and there is a label 2"):
        with_fields(rows, LABELLED, Columns(labels=["no", "yes"]), "f")


def test_classes_that_are_words_need_no_names() -> None:
    rows = datasets.Dataset.from_dict({"text": ["a"], "label": ["yes"]})
    with pytest.raises(UserError, match=r"the column label holds string\. Set data\.labels=null"):
        with_fields(rows, LABELLED, Columns(labels=["no", "yes"]), "f")


def test_the_key_is_as_before_where_only_the_text_column_is_named() -> None:
    """Else every cache and every fingerprint of a run would be another one."""
    assert Columns("body").key == ["body"]
    assert Columns("body", {"source": "de"}).key == ["body", {"source": "de"}, None]
