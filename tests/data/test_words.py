"""Guards: n-grams that depend on case or punctuation, on the process, or on where in a text they stand."""

import subprocess
import sys

import numpy as np
import pytest

from manyheads.data.words import WordHashes, mix, ngrams, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The  cat, sat!\n", ["the", "cat", "sat"]),
        ("don't STRASSE straße", ["don", "t", "strasse", "strasse"]),
        ("E\u0301 \u00e9", ["é", "é"]),
        ("ab 東京x", ["ab", "東", "京", "x"]),
        (" ... ", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_equal_runs_of_words_have_equal_hashes_and_others_differ() -> None:
    hashes = WordHashes()
    one, other = hashes.of("a b c d"), hashes.of("x B, C d")
    assert ngrams(one, 3)[1:].tolist() == ngrams(other, 3)[1:].tolist()
    assert ngrams(one, 3)[0] != ngrams(other, 3)[0]
    assert [len(ngrams(one, n)) for n in (1, 4, 5)] == [4, 1, 0]
    assert len({int(ngrams(hashes.of(text), 2)[0]) for text in ("a b", "b a", "a a", "b b")}) == 4


def test_hashes_are_the_same_in_another_process() -> None:
    """Guards: Python's own `hash`, which is salted: a cache made by one process would be wrong in the next."""
    code = "from manyheads.data.words import *; print(ngrams(WordHashes().of('a b c'), 2).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(ngrams(WordHashes().of("a b c"), 2).tolist())


def test_mix_is_splitmix64() -> None:
    """The first outputs of the generator seeded with 0, as published with it: state 1 and 2 times the golden gamma."""
    states = np.array([1, 2], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [hex(value) for value in mix(states).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]
