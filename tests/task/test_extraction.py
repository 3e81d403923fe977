"""Guards sentences that are not the document's, answers that go to another sentence, and a nearest one that is not nearest."""

from __future__ import annotations

import pytest

from manyheads.task.extraction import NO, YES, asked_about, candidates, nearest, sentence_of

TEXT = 'It rains.  We "stay"\nin. 1/2: no.'


def test_each_sentence_is_read_with_its_place() -> None:
    assert candidates(TEXT) == ["1/3: It rains.", '2/3: We "stay" in.', "3/3: 1/2: no."]
    assert [sentence_of(TEXT, number) for number in range(3)] == ["It rains.", 'We "stay"\nin.', "1/2: no."]


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_document_without_a_sentence_is_asked_about_once(text: str) -> None:
    assert (candidates(text), sentence_of(text, 0), nearest(text, "a")) == ([""], "", 0)


def test_the_nearest_is_that_of_the_highest_rouge_1_and_of_equals_the_first() -> None:
    """By hand: with "we stay home", sentences of 2, 3 and 2 words share 0, 2 and 1."""
    assert nearest("It rains. We stay in. We go.", "we stay home") == 1
    assert nearest("We go. We sit.", "we") == 0
    assert nearest("We go.", "") == 0


def test_rows_become_a_row_for_each_sentence() -> None:
    rows = {
        "document": ["It rains. We stay in.", None, "Go."],
        "summary": ["stay in", "x", None],
        "references": [None] * 3,
    }
    asked, numbers = asked_about(rows, "document", "summary")
    assert asked == {
        "document": ["1/2: It rains.", "2/2: We stay in.", "", "1/1: Go."], "summary": [NO, YES, YES, YES]
    }  # fmt: skip
    assert numbers == [[0], [0], [1], [2]]
    assert asked_about({"document": ["It rains."]}, "document", "summary") == ({"document": ["1/1: It rains."]}, [[0]])
