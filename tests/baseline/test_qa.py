"""Guards baselines by hand: a rule that is not the one that is told."""

from __future__ import annotations

import pytest

from manyheads.baseline.qa import best_sentence, whole_context

CONTEXT = "We keep data. Is it sold? Never is the data sold! It is kept for 3.5 years."


def test_the_whole_context() -> None:
    assert whole_context(CONTEXT, "Is data sold?") == CONTEXT


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is the data sold?", "Never is the data sold!"),  # is, data, sold: articles do not count
        ("DATA", "We keep data."),  # the first of two, whatever its case
        ("How many years, for what?", "It is kept for 3.5 years."),
        ("Who?", "We keep data."),  # none shares a word
        ("is is is keep data", "We keep data."),  # a word that is asked several times counts once
    ],
)
def test_the_sentence_that_shares_the_most_words(question: str, expected: str) -> None:
    assert best_sentence(CONTEXT, question) == expected


def test_an_empty_context() -> None:
    assert best_sentence(" ", "Who?") == ""
