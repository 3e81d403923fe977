"""Guards a question that its row does not answer, two splits of the same rows, and other rows from the same seed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from manyheads.data.recall import FILLER, KEYS, MARK, VALUES, Recall, recall
from manyheads.data.source import SPLITS
from manyheads.errors import UserError


def texts(source: Recall, split: str) -> list[str]:
    return [text for part in source.texts(split) for text in part]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pairs": 1, "length": 5},
        {"pairs": 5, "queries": 2, "length": 15, "keys": 5, "values": 1},
        {"pairs": 30, "queries": 7, "length": 200, "keys": 100, "values": 60},
    ],
)
def test_every_question_is_answered_by_its_row(settings: dict[str, Any]) -> None:
    source = recall(rows=50, scored_rows=20, **settings)
    pairs, length = settings.get("pairs", 8), settings.get("length", 64)
    for split in SPLITS:
        for text in texts(source, split):
            assert len(text) == length
            before, after = text.split(MARK)
            told = dict(zip(before[::2], before[1::2], strict=True))
            assert len(told) == pairs == len(before) / 2
            asked = after.replace(FILLER, "")
            questions = dict(zip(asked[::2], asked[1::2], strict=True))
            assert len(questions) == settings.get("queries", pairs) == len(asked) / 2
            assert questions.items() <= told.items()
            assert not re.search(f"[A-Z]{re.escape(FILLER)}", after)  # an answer follows at once
            assert set(told) <= set(KEYS[: settings.get("keys", 26)])
            assert set(told.values()) <= set(VALUES[: settings.get("values", 26)])


def test_rows_go_by_seed_and_split_alone() -> None:
    first = recall(rows=20, scored_rows=20)
    again = recall(rows=20, scored_rows=20)
    assert [texts(first, split) for split in SPLITS] == [texts(again, split) for split in SPLITS]
    assert first.fingerprint == again.fingerprint
    rows = [*(tuple(texts(first, split)) for split in SPLITS), tuple(texts(recall(rows=20, seed=2), "train"))]
    assert len({row for part in rows for row in part}) == 80
    # more rows begin with the same ones
    assert texts(recall(rows=30), "train")[:20] == texts(first, "train")
    assert recall(rows=30).fingerprint != first.fingerprint


def test_keys_values_and_places_are_spread_evenly() -> None:
    """Guards an answer that can be guessed: each value and each order of questions about as often as any other."""
    source = recall(pairs=2, length=12, keys=4, values=3, rows=3000)
    found = texts(source, "train")
    for alphabet, places in (("ABCD", (0, 2)), ("abc", (1, 3))):
        for place in places:
            counts = [sum(text[place] == sign for text in found) / 3000 for sign in alphabet]
            assert counts == pytest.approx([1 / len(alphabet)] * len(alphabet), abs=0.05)
    same_order = sum(text.replace(FILLER, "")[5] == text[0] for text in found) / 3000
    assert same_order == pytest.approx(0.5, abs=0.05)
    # of 5 places (3 full stops, 2 questions) the first holds a question in 2 of 5 rows
    assert sum(text[5] != FILLER for text in found) / 3000 == pytest.approx(0.4, abs=0.05)


def test_no_letter_has_two_meanings() -> None:
    assert len({*KEYS, *VALUES, MARK, FILLER}) == len(KEYS) + len(VALUES) + 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": 27}, "data.pairs=27: set a number from 1 to 26. The upper end is data.keys: a key has one value."),
        ({"queries": 9}, "data.queries=9: set a number from 1 to 8. The upper end is data.pairs."),
        ({"rows": 0}, "data.rows=0: set a number of at least 1."),
        (
            {"length": 32},
            "data.length=32: 8 pairs and 8 questions take 33 characters. Set that or more, or smaller data.pairs.",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        recall(**settings)
    assert str(caught.value) == message
