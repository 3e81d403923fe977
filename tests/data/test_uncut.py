"""Guards: a figure of a part of one's own file, and a split that is asked for although nobody gave it."""

import itertools

import pytest

from manyheads.data.uncut import Uncut
from manyheads.errors import UserError
from manyheads.testing import Rows

TRAIN, VALIDATION, TEST = [f"line {i}\n" for i in range(40)], ["v"], ["t", "u"]


def texts(source: Uncut, split: str) -> list[str]:
    return list(itertools.chain(*source.texts(split)))


@pytest.mark.parametrize("join_rows", [False, True])
def test_data_without_splits_is_the_test_split_as_a_whole(join_rows: bool) -> None:
    source = Uncut(Rows({"train": TRAIN}, join_rows=join_rows))
    assert source.given == ("test",)
    assert texts(source, "test") == TRAIN
    assert source.join_rows == join_rows
    assert source.notes == ["other data than the run was trained on, all of it as the test split"]
    with pytest.raises(UserError, match="has no validation split, only test"):
        source.rows("validation")


def test_splits_that_are_there_are_as_they_are() -> None:
    source = Uncut(Rows({"train": TRAIN, "validation": VALIDATION, "test": TEST}))
    assert source.given == ("validation", "test")
    assert [texts(source, split) for split in source.given] == [VALIDATION, TEST]
    assert source.notes == ["other data than the run was trained on"]


@pytest.mark.parametrize(("split", "rows"), [("validation", VALIDATION), ("test", TEST)])
def test_a_single_split_is_named(split: str, rows: list[str]) -> None:
    source = Uncut(Rows({"train": TRAIN, split: rows}))
    assert texts(source, split) == rows
    assert source.notes == [f"other data than the run was trained on, scored on its {split} split alone"]


def test_its_tokens_are_kept_apart_from_those_of_the_cut_splits() -> None:
    """The cache of tokens goes by the fingerprint and the split."""
    rows = Rows({"train": TRAIN})
    assert Uncut(rows).fingerprint not in (rows.fingerprint, Uncut(Rows({"train": TEST})).fingerprint)
