"""Guards: rows removed that are not alike, repeats that stay, the earlier row removed instead of the later, an evaluated
row removed at all, and a result that depends on the window or the batch."""

import itertools
import random

import pytest

from manyheads.data import near_duplicates as module
from manyheads.data.near_duplicates import REPORT, WithoutNearDuplicates
from manyheads.data.source import Source
from manyheads.data.words import words
from manyheads.testing import Rows


def left(source: Source, split: str = "train") -> list[str]:
    return list(itertools.chain(*source.texts(split)))


def jaccard(one: str, other: str, n: int) -> float:
    """Straight from the definition."""
    a, b = ({tuple(words(t)[i : i + n]) for i in range(len(words(t)) - n + 1)} for t in (one, other))
    return len(a & b) / len(a | b)


def test_later_rows_and_those_that_repeat_evaluated_ones_go() -> None:
    """By hand, 2-grams: "a b c d e f" against "... f g" share 5 of 6: 0.83; against "... x y" 3 of 7."""
    train = ["a b c d e f", "q r s t", "A, b c d e f g!", "a b c d x y", "t e s t row", "v a l row", "", "!!", "short"]
    inner = Rows({"train": [*train, "short"], "validation": ["v a l row"], "test": ["T e s t row", "a b c d e f"][:1]})
    source = WithoutNearDuplicates(inner, 0.8, 2)
    assert source.notes == ["training rows that nearly repeat another row are left out"]
    assert left(source) == [*train[:2], "a b c d x y", "", "!!", "short"]
    assert left(source, "validation") == ["v a l row"]
    report = source.reports[REPORT]
    assert (report["rows"], report["removed"]) == (10, 4)
    assert report["removed_for"] == {"train": 2, "validation": 1, "test": 1}
    first = {"row": 2, "text": train[2], "jaccard": 0.8333, "repeats": {"split": "train", "row": 0, "text": train[0]}}
    assert report["examples"][0] == first
    assert source.notes[0].startswith("4 of 10 training rows nearly repeat another and are left out (2 one of train, 1")


def test_a_row_is_compared_with_what_is_kept() -> None:
    """b repeats a and goes; c is like b but not like a: it stays, or its content would be nowhere."""
    chain = ["a b c d e f g h i j", "b c d e f g h i j k", "c d e f g h i j k l"]
    assert jaccard(chain[1], chain[2], 2) == jaccard(chain[0], chain[1], 2) == 0.8
    assert jaccard(chain[0], chain[2], 2) < 0.8
    assert left(WithoutNearDuplicates(Rows({"train": chain, "validation": ["v"], "test": ["t"]}), 0.8, 2)) == chain[::2]


def test_against_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 random rows, some edited copies: the same rows go as when every pair is compared by the definition, whatever
    the window. The pairs at the threshold are found with probability 0.99 each; the hashes are fixed, so is the result."""
    draw = random.Random(0)
    rows = [" ".join(f"w{draw.randrange(50)}" for _ in range(30)) for _ in range(250)]
    for _ in range(150):
        copy = draw.choice(rows).split()
        for _ in range(draw.randrange(5)):
            copy[draw.randrange(len(copy))] = "edited"
        rows.append(" ".join(copy))
    draw.shuffle(rows)
    sets = [{tuple(row.split()[i : i + 3]) for i in range(28)} for row in rows]
    places: list[int] = []
    for i, one in enumerate(sets):
        if all(len(one & sets[j]) / len(one | sets[j]) < 0.6 for j in places):
            places.append(i)
    kept = [rows[i] for i in places]
    assert 200 < len(kept) < 300
    inner = Rows({"train": rows, "validation": ["v"], "test": ["t"]})
    monkeypatch.setattr("manyheads.data.split.WINDOW_BYTES", 20_000)
    assert left(WithoutNearDuplicates(inner, 0.6, 3)) == kept


def test_short_lines_of_a_running_text_stay() -> None:
    lines = ["ROMEO:\n", "one two three four\n", "ROMEO:\n", "one two three four\n"]
    inner = Rows({"train": lines, "validation": ["v\n"], "test": ["t\n"]}, join_rows=True)
    assert left(WithoutNearDuplicates(inner, 0.8, 3)) == lines[:3]


def test_the_fingerprint_goes_by_the_settings_and_the_search_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Rows({"train": ["once only a b c", "other"], "validation": ["v"], "test": ["t"]})
    found = {WithoutNearDuplicates(inner, t, n).fingerprint for t, n in ((0.8, 5), (0.9, 5), (0.8, 4))}
    assert len({*found, inner.fingerprint}) == 4
    assert left(WithoutNearDuplicates(inner, 0.8, 5)) == ["once only a b c", "other"]
    monkeypatch.setattr(module, "_Search", None)
    assert left(WithoutNearDuplicates(inner, 0.8, 5)) == ["once only a b c", "other"]


def test_without_train_there_is_nothing_to_report() -> None:
    source = WithoutNearDuplicates(Rows({"test": ["t"]}), 0.8, 5)
    assert source.reports == {}
    assert left(source, "test") == ["t"]
