"""Guards: an overlap missed because of case, punctuation or the border of a batch, one that is not there, wrong rows."""

import itertools

import pytest

from manyheads.data.contamination import REPORT, WithContamination, find
from manyheads.testing import Rows

TRAIN = ["nothing here", "The quick, brown fox jumps over dogs", "the quick brown fox again"]


def test_rows_shares_and_examples_by_hand() -> None:
    """4-grams. Test row 0 has 3, of which "quick brown fox jumps" and "brown fox jumps over" are in train row 1."""
    test = ["quick brown fox JUMPS over me", "too short", "four words without overlap", "a the quick brown fox"]
    source = Rows({"train": TRAIN, "validation": ["never seen before at all"], "test": test})
    found = find(source, 4)
    assert found["validation"] == {"rows": 1, "too_short": 0, "overlapping": 0, "share": 0.0, "examples": []}
    first, second = found["test"].pop("examples")
    assert found["test"] == {"rows": 4, "too_short": 1, "overlapping": 2, "share": 0.666667}
    assert first == {
        "row": 0, "text": test[0], "ngrams": 3, "overlapping": 2, "shared": "quick brown fox jumps over",
        "train_row": 1, "train_text": TRAIN[1],
    }  # fmt: skip
    assert (second["row"], second["overlapping"], second["shared"], second["train_row"]) == (
        3,
        1,
        "the quick brown fox",
        1,
    )


def test_the_rows_stay_and_the_report_is_told_once_it_is_made() -> None:
    inner = Rows({"train": TRAIN, "validation": ["v w x y"], "test": ["the quick brown fox"]})
    source = WithContamination(inner, 4)
    assert source.fingerprint == inner.fingerprint
    assert list(itertools.chain(*source.texts("train"))) == TRAIN
    assert source.notes == []
    assert source.reports[REPORT]["ngram"] == 4
    assert source.notes == [
        "0 of 1 validation rows (0.00%) share 4 words in a row with train",
        "1 of 1 test rows (100.00%) share 4 words in a row with train, e.g. 'the quick brown fox'; contamination.json",
    ]


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_n_grams_of_a_running_text_cross_lines_and_batches(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.data.source.BATCH_ROWS", batch)
    train, test = ["zero one\n", "two\n", "three four\n"], ["x one\n", "two\n", "three y\n"]
    found = find(Rows({"train": train, "validation": ["v\n"], "test": test}, join_rows=True), 3)["test"]
    (example,) = found["examples"]
    assert (found["rows"], found["too_short"], found["overlapping"]) == (3, 1, 1)
    assert (example["row"], example["ngrams"], example["shared"], example["train_row"]) == (2, 2, "one two three", 2)
    apart = find(Rows({"train": train, "validation": ["v\n"], "test": test}), 3)["test"]
    assert (apart["too_short"], apart["overlapping"]) == (3, 0)


def test_data_without_train_has_no_report() -> None:
    assert WithContamination(Rows({"test": ["a b"]}), 2).reports == {}
