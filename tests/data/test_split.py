"""Guards: a row in two splits or in none, a cut that depends on chance or on the order, an empty split."""

import itertools

import datasets
import pytest

import manyheads.data.split as split_module
from manyheads.data.split import batches_of_text, check_fraction, cut, note, windows
from manyheads.errors import UserError


def rows_of(texts: list[str | None]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts}, features=datasets.Features({"text": datasets.Value("string")}))


def places(texts: list[str | None], missing: list[str], fraction: float, *, join_rows: bool) -> dict[str, list[int]]:
    rows = rows_of(texts)
    found = cut(lambda: rows, missing, fraction, join_rows=join_rows, name="x")
    return {split: [int(row) for row in place] for split, place in found.items()}


def test_joined_rows_are_cut_in_order_by_bytes() -> None:
    # 10 rows of 10 bytes: a tenth is one row
    assert places(["é" * 5] * 10, ["validation", "test"], 0.1, join_rows=True) == {
        "train": [0, 1, 2, 3, 4, 5, 6, 7],
        "validation": [8],
        "test": [9],
    }
    # 1 + 1 + 1 + 97 bytes: the goal lies inside the last row, which goes to test whole
    assert places(["a", "b", "c", "d" * 97], ["test"], 0.1, join_rows=True) == {"train": [0, 1, 2], "test": [3]}


def test_joined_rows_null_and_empty_ones_included_are_each_in_one_split(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [None, "", "abc"] * 40
    whole = places(texts, ["validation", "test"], 0.2, join_rows=True)
    assert list(itertools.chain(*whole.values())) == list(range(120))
    # windows of one row: the same cut
    monkeypatch.setattr(split_module, "WINDOW_BYTES", 1)
    assert places(texts, ["validation", "test"], 0.2, join_rows=True) == whole


def test_rows_go_by_the_hash_of_their_text() -> None:
    texts: list[str | None] = [f"row {i}" for i in range(2000)]
    found = places(texts, ["validation", "test"], 0.1, join_rows=False)
    assert sorted(itertools.chain(*found.values())) == list(range(2000))
    # binomial: 200 expected, standard deviation 13.4; the outcome is fixed, five deviations leave room for another hash
    assert abs(len(found["validation"]) - 200) < 67
    assert abs(len(found["test"]) - 200) < 67


def test_equal_rows_fall_into_one_split_and_stay_when_rows_are_added() -> None:
    texts: list[str | None] = [f"row {i % 500}" for i in range(1000)]
    found = places(texts, ["validation", "test"], 0.1, join_rows=False)
    for place in found.values():
        assert {(row + 500) % 1000 for row in place} == set(place)
    more = places([*texts, *(f"new {i}" for i in range(500))], ["validation", "test"], 0.1, join_rows=False)
    for split, place in found.items():
        assert [row for row in more[split] if row < 1000] == place


def test_every_split_gets_a_row_where_that_is_possible() -> None:
    found = places(["a", "b", "c"], ["validation", "test"], 0.01, join_rows=False)
    assert sorted(itertools.chain(*found.values())) == [0, 1, 2]
    assert all(len(place) == 1 for place in found.values())
    assert places(["a", "b", "c"], ["validation", "test"], 0.01, join_rows=True) == {
        "train": [0],
        "validation": [1],
        "test": [2],
    }


@pytest.mark.parametrize("join_rows", [True, False])
@pytest.mark.parametrize("texts", [[], ["a"], ["a", "b"]], ids=["none", "one", "two"])
def test_too_few_rows_are_refused(texts: list[str | None], join_rows: bool) -> None:
    with pytest.raises(UserError, match=rf"data \(x\): {len(texts)} row.*too few.*at least 3"):
        places(texts, ["validation", "test"], 0.05, join_rows=join_rows)


def test_equal_rows_alone_cannot_be_cut_by_hash() -> None:
    with pytest.raises(UserError, match="rows with different texts"):
        places(["same"] * 100, ["test"], 0.05, join_rows=False)


@pytest.mark.parametrize("fraction", [-0.1, 0.5, 1, float("nan")])
def test_a_fraction_that_leaves_no_training_data_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match=r"data\.validation_fraction="):
        check_fraction(fraction)


def test_no_fraction_is_enough_where_all_splits_are_given_and_refused_elsewhere() -> None:
    check_fraction(0)
    assert len(places(["a", "b"], [], 0, join_rows=True)["train"]) == 2
    with pytest.raises(UserError, match=r"data\.validation_fraction=0: the data has no test split"):
        places(["a", "b"], ["test"], 0, join_rows=True)


def test_the_note_says_what_was_done() -> None:
    assert note(["validation", "test"], 0.05, True) == (
        "no validation or test split in the data: 0.05 of train, a row at least, was set aside for each "
        "(the end of the training text)"
    )
    assert note(["test"], 0.1, False) == (
        "no test split in the data: 0.1 of train, a row at least, was set aside for it "
        "(training rows chosen by the hash of their text)"
    )


def test_windows_cover_all_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of([f"{i:03d}" for i in range(100)])
    monkeypatch.setattr(split_module, "WINDOW_BYTES", rows.data.nbytes // 7)
    sizes = [len(window) for window in windows(lambda: rows)]
    assert len(sizes) > 5
    assert sum(sizes) == 100
    assert list(itertools.chain(*batches_of_text(lambda: rows, 10))) == [f"{i:03d}" for i in range(100)]
