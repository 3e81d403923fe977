import math

import pytest

from manyheads.errors import UserError
from manyheads.metric.texts import Sourced, listed, mean, ngrams, references, words


def test_a_target_is_a_list_or_says_its_source() -> None:
    assert references([["a", "b"], Sourced(references=["c"], source="d"), [""]]) == [["a", "b"], ["c"], [""]]


def test_an_example_without_references_is_told() -> None:
    """An empty text is a reference; no text at all is a hole in the data, which scorers meet in as many ways."""
    with pytest.raises(UserError) as error:
        references([["a"], []])
    assert "example 1 of the split has no reference text" in str(error.value)
    assert listed([]) == []


def test_one_text_does_not_pass_for_a_list_of_its_letters() -> None:
    with pytest.raises(AssertionError, match="a list of references"):
        references(["the cat"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world.", ["Hello", ",", "world", "."]),
        ("3.14 U.S.", ["3.14", "U", ".", "S", "."]),
        ("猫坐下。Ok", ["猫", "坐", "下", "。", "Ok"]),
        (" \n ", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_ngrams() -> None:
    assert ngrams("abcd", 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert ngrams("ab", 3) == []


def test_a_mean_leaves_out_what_is_not_known() -> None:
    assert mean([1.0, math.nan, 2.0]) == 1.5
    assert math.isnan(mean([]))
    assert math.isnan(mean([math.nan]))
