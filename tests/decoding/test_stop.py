"""Guards against a stop string that is missed between pieces, shown in part, or cuts too much."""

import itertools

import pytest

from manyheads.decoding.stop import StopText
from manyheads.errors import UserError


def told(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    """Each piece that is passed on, the flush last; and whether a stop string was found."""
    stop = StopText(stops)
    return [*(stop.push(piece) for piece in pieces), stop.flush()], stop.stopped


def test_text_passes_at_once_without_a_stop_string() -> None:
    assert told([], ["ab", "c"]) == (["ab", "c", ""], False)


def test_what_may_become_a_stop_string_waits() -> None:
    assert told(["END"], ["ab", "cE", "N", "x"]) == (["ab", "c", "", "ENx", ""], False)


def test_a_stop_string_across_pieces_ends_the_text_before_it() -> None:
    assert told(["END"], ["abE", "N", "Dxyz", "more"]) == (["ab", "", "", "", ""], True)


def test_a_held_beginning_is_told_when_the_text_ends() -> None:
    assert told(["END"], ["abEN"]) == (["ab", "EN"], False)


def test_a_repeated_beginning_is_held_from_the_right_place() -> None:
    """After "aab" fails to become "aaab"... the second a may still begin it."""
    assert told(["aab"], ["a", "a", "a", "b"]) == (["", "", "a", "", ""], True)


def test_the_earlier_of_two_overlapping_stop_strings_counts() -> None:
    """ "b" is found first, but "abc" may begin before it: the text must not be cut until that is decided."""
    assert told(["abc", "b"], ["xab", "c"]) == (["x", "", ""], True)
    assert told(["abc", "b"], ["xab", "d"]) == (["x", "a", ""], True)
    assert told(["abc", "b"], ["xab"]) == (["x", "a"], True)


@pytest.mark.parametrize("stops", [["b"], ["ab"], ["aab", "ba"], ["bb", "abab"], ["aaa", "ab"]])
def test_every_text_in_every_cutting_equals_the_plain_search(stops: list[str]) -> None:
    """All 32 texts of five letters, cut everywhere; the oracle searches the whole text."""
    for letters in itertools.product("ab", repeat=5):
        text = "".join(letters)
        places = [text.find(stop) for stop in stops if stop in text]
        expected = text[: min(places)] if places else text
        for cuts in itertools.product([True, False], repeat=4):
            pieces = [text[0]]
            for letter, cut in zip(text[1:], cuts, strict=True):
                pieces = [*pieces, letter] if cut else [*pieces[:-1], pieces[-1] + letter]
            parts, stopped = told(stops, pieces)
            assert ("".join(parts), stopped) == (expected, bool(places))


@pytest.mark.parametrize("stops", [[""], [5], [None]])
def test_an_empty_or_foreign_stop_string_is_refused(stops: list[str]) -> None:
    with pytest.raises(UserError, match="stop="):
        StopText(stops)
