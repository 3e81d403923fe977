"""Guards: splits that are cut although they are there, texts lost or reordered on the way, null texts that crash."""

import itertools

import pytest

from manyheads.errors import UserError
from manyheads.testing import Rows


def texts(source: Rows, split: str) -> list[str]:
    return list(itertools.chain(*source.texts(split)))


def test_given_splits_are_left_as_they_are() -> None:
    source = Rows({"train": ["a", "b"], "validation": ["c"], "test": ["d", "e"]})
    assert [texts(source, split) for split in ("train", "validation", "test")] == [["a", "b"], ["c"], ["d", "e"]]
    assert source.notes == []


def test_a_missing_validation_split_is_cut_from_train_alone() -> None:
    source = Rows({"train": [f"line {i}\n" for i in range(100)], "test": ["kept"]}, join_rows=True)
    assert texts(source, "test") == ["kept"]
    assert texts(source, "train") + texts(source, "validation") == [f"line {i}\n" for i in range(100)]
    assert len(texts(source, "validation")) == 5
    assert source.notes == [
        "no validation split in the data: 0.05 of train, a row at least, was set aside for it (the end of the training text)"
    ]


def test_a_data_set_without_train_can_still_be_evaluated() -> None:
    source = Rows({"test": ["only"]})
    assert texts(source, "test") == ["only"]
    for split in ("train", "validation"):
        with pytest.raises(UserError, match=rf"has no {split} split, only test"):
            source.rows(split)


def test_batches_are_of_about_a_thousand_rows_in_order() -> None:
    source = Rows({"train": [str(i) for i in range(2500)], "validation": ["v"], "test": ["t"]})
    batches = list(source.texts("train"))
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert list(itertools.chain(*batches)) == [str(i) for i in range(2500)]


def test_a_null_text_is_the_empty_one() -> None:
    source = Rows({"train": ["a", None], "validation": ["v"], "test": ["t"]})  # type: ignore[list-item]
    assert texts(source, "train") == ["a", ""]


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(UserError, match="the test split has no row"):
        Rows({"train": ["a"], "validation": ["b"], "test": []}).rows("test")


def test_an_unknown_split_names_the_three() -> None:
    with pytest.raises(UserError, match=r"split=dev is not one of train, validation, test"):
        Rows({"train": ["a"]}).rows("dev")
