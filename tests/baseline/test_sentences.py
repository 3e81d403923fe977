"""Guards the one rule by which every baseline cuts sentences."""

from __future__ import annotations

import pytest

from manyheads.baseline.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?\nFour", ["One.", "Two!", "Three?", "Four"]),
        ("We use it, e.g. for 3.5 years. Then not.", ["We use it, e.g. for 3.5 years.", "Then not."]),
        ('He said "no." She (too.) Left.', ['He said "no."', "She (too.)", "Left."]),
        ("一。二！三？", ["一。", "二！", "三？"]),
        ("A heading\n \nA text", ["A heading", "A text"]),
        ("  ", []),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
