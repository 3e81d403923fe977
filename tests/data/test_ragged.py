"""Guards: examples that change places, columns that do not belong together, examples made anew or taken from a stale cache."""

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from manyheads.data.fields import Fields
from manyheads.data.ragged import ExampleStore, Ragged, examples
from manyheads.testing import Rows

ROWS = [{"text": text, "label": i} for i, text in enumerate(["ab", "", "c", "defg"] * 400)]


def source() -> Rows:
    made = Rows({"train": ROWS, "validation": ROWS[:1], "test": ROWS[:1]})
    made.ask(Fields(("text",), ("label",)))
    return made


def letters(rows: Mapping[str, list[Any]]) -> dict[str, list[list[int]]]:
    return {"ids": [list(text.encode()) for text in rows["text"]], "label": [[label] for label in rows["label"]]}


def test_each_row_is_an_example_in_its_place_across_batches_of_rows() -> None:
    store = examples(source(), "train", ["each"], letters)
    assert len(store) == store.num_rows == len(ROWS) == 1600
    assert store.columns == ["ids", "label", "row"]
    for number in (0, 1, 999, 1000, 1599):
        assert store["ids"][number].tolist() == list(ROWS[number]["text"].encode())
        assert store["label"][number].tolist() == [number]
    assert store.rows.tolist() == list(range(1600))
    assert store["ids"].lengths.tolist() == [len(row["text"]) for row in ROWS]
    assert store.num_bytes == sum(len(row["text"]) for row in ROWS)


def test_a_row_can_be_left_out_or_make_several() -> None:
    def twice(rows: Mapping[str, list[Any]]) -> dict[str, list[list[int]]]:
        kept = [place for place, text in enumerate(rows["text"]) if text for _ in range(2)]
        return {"ids": [[place] for place in kept], "row": [[place] for place in kept]}

    store = examples(source(), "train", ["twice"], twice)
    assert (len(store), store.num_rows) == (2 * 1200, 1600)
    assert store.rows[:5].tolist() == [0, 0, 2, 2, 3]
    assert store.rows[-2:].tolist() == [1599, 1599]


def test_they_are_made_once_and_anew_when_anything_they_depend_on_changes() -> None:
    made = []

    def counted(rows: Mapping[str, list[Any]]) -> dict[str, list[list[int]]]:
        made.append(len(rows["text"]))
        return letters(rows)

    first = examples(source(), "test", ["counted", 1], counted)
    assert (first.folder, made) == (examples(source(), "test", ["counted", 1], counted).folder, [1])
    examples(source(), "test", ["counted", 2], counted)
    examples(source(), "validation", ["counted", 1], counted)
    assert made == [1, 1, 1]


def test_an_error_leaves_nothing_that_looks_whole() -> None:
    def fails(rows: Mapping[str, list[Any]]) -> dict[str, list[list[int]]]:
        if rows["label"][0] == 1000:
            raise ValueError("in the second batch")
        return letters(rows)

    for _ in range(2):
        with pytest.raises(ValueError, match="in the second batch"):
            examples(source(), "train", ["fails"], fails)


def test_a_worker_opens_the_files_itself() -> None:
    store = examples(source(), "train", ["worker"], letters)
    copy = pickle.loads(pickle.dumps(store))
    assert isinstance(copy, ExampleStore)
    assert copy["ids"][3].tolist() == [100, 101, 102, 103]
    assert len(pickle.dumps(store)) < 1000


def test_a_split_that_makes_no_example_is_empty() -> None:
    store = examples(source(), "test", ["none"], lambda rows: {"ids": [], "row": []})
    assert (len(store), store.num_rows, store["ids"].lengths.tolist()) == (0, 1, [])


def test_lists_are_cut_by_their_starts() -> None:
    ragged = Ragged(np.array([1, 2, 3], np.int32), np.array([0, 2, 2, 3], np.int64))
    assert [ragged[i].tolist() for i in range(len(ragged))] == [[1, 2], [], [3]]
