"""Guards: padding that passes for text, an example's number lost on the way, a rank without rows that learns something."""

import numpy as np
import torch

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.data.examples import ExampleRows, no_example, padded
from manyheads.data.fields import Fields
from manyheads.data.ragged import examples
from manyheads.testing import Rows


def store():
    rows = [{"text": text} for text in ("abc", "d", "ef")]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Fields(("text",), optional=("x",)))
    return examples(source, "test", ["bytes"], lambda found: {"ids": [list(text.encode()) for text in found["text"]]})


def collate(columns):
    ids, segments = padded(columns["ids"], 0)
    batch = Batch(input_ids=ids, labels=padded(columns["ids"], IGNORE)[0])
    if segments is not None:
        batch["segments"] = segments
    return batch


def test_padding_is_on_the_right_and_in_no_segment() -> None:
    ids, segments = padded([np.array([1, 2]), np.array([], np.int32), np.array([3])], 9)
    assert ids.tolist() == [[1, 2], [9, 9], [3, 9]]
    assert segments is not None
    assert segments.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert padded([np.array([1]), np.array([2])], 9)[1] is None


def test_a_batch_is_made_of_the_members_that_are_asked_for_and_knows_their_numbers() -> None:
    rows = ExampleRows(store(), collate, members=np.array([2, 0]), scoring=True)
    assert len(rows) == 2
    batch = rows.__getitems__([1, 0])
    assert batch["input_ids"].tolist() == [[97, 98, 99], [101, 102, 0]]
    assert batch["examples"].tolist() == [0, 2]
    assert "examples" not in ExampleRows(store(), collate, scoring=False)[0]


def test_a_rank_without_rows_has_a_batch_without_labels() -> None:
    batch = ExampleRows(store(), collate, scoring=True).__getitems__([])
    assert (batch["labels"] == IGNORE).all()
    assert batch["examples"].tolist() == [NO_EXAMPLE]


def test_no_example_empties_all_kinds_of_labels_and_counts() -> None:
    full = Batch(
        input_ids=torch.ones(2, 3), classes=torch.tensor([1, 0]), spans=torch.ones(2, 2), num_tokens=torch.tensor(6),
        num_bytes=torch.tensor([3, 3]),
    )  # fmt: skip
    empty = no_example(full)
    assert empty["classes"].tolist() == [IGNORE, IGNORE]
    assert empty["spans"].tolist() == [[IGNORE, IGNORE]] * 2
    assert (int(empty["num_tokens"]), empty["num_bytes"].tolist()) == (0, [0, 0])
    assert full["classes"].tolist() == [1, 0]


def test_drawn_examples_are_the_same_in_any_batch_and_others_in_another_epoch() -> None:
    """Guards a resume, and ranks: a draw that goes by the place in a batch."""

    def redraw(columns, keys):
        assert len(columns["ids"]) == len(keys)
        return {
            "ids": [
                one + np.random.default_rng(key).integers(1000) for one, key in zip(columns["ids"], keys, strict=True)
            ]
        }

    rows = ExampleRows(store(), collate, scoring=False, redraw=redraw, seed=5)
    together = rows.__getitems__([2, 0, 1 + 3])["input_ids"].tolist()
    alone = [rows[index]["input_ids"][0].tolist() for index in (2, 0, 1 + 3)]
    assert [row[: len(one)] for row, one in zip(together, alone, strict=True)] == alone
    assert rows[0]["input_ids"].tolist() != rows[3]["input_ids"].tolist()
    other = ExampleRows(store(), collate, scoring=False, redraw=redraw, seed=6)
    assert rows[0]["input_ids"].tolist() != other[0]["input_ids"].tolist()
