"""Mixtures: what is in each split, and what a user is told."""

from typing import Any

import pytest

from manyheads.data.mixture import mixture
from manyheads.errors import UserError
from manyheads.testing import Rows

A, B = Rows({"train": ["a", "b"], "test": ["c"]}, validation_fraction=0.3), Rows({"train": list("defghijk")})


def test_each_split_is_that_of_all_members():
    """Guards: splits cut from the whole instead of from each member, so that one has no part in a split."""
    mixed = mixture(sources={"a": A, "b": B})
    assert mixed.given == ("train", "validation", "test")
    for split in mixed.given:
        expected = [text for member in (A, B) for batch in member.texts(split) for text in batch]
        assert [text for batch in mixed.texts(split) for text in batch] == expected
        assert mixed.rows(split)["text"][:] == expected
        assert [size for _, sizes in mixed.pieces(split) for size in sizes] == [1] * len(expected)
    assert mixed.weights is None
    assert dict(mixed.parts) == {"a": A, "b": B}


def test_notes_name_the_member():
    notes = mixture(sources={"a": A, "b": B}).notes
    assert [note.partition(":")[0] for note in notes] == ["a", "b"]


def test_other_data_is_scored_by_the_splits_that_all_have():
    assert mixture(sources={"a": A, "b": B}).uncut().given == ("test",)


def test_the_fingerprint_stands_for_members_names_and_weights():
    found = {
        mixture(sources=sources, weights=weights).fingerprint
        for sources, weights in (
            ({"a": A, "b": B}, None),
            ({"a": A, "c": B}, None),
            ({"b": B, "a": A}, None),
            ({"a": A, "b": B}, {"a": 1, "b": 2}),
            ({"a": A, "b": B}, {"a": 1, "b": 3}),
        )
    }
    assert len(found) == 5
    given = mixture(sources={"a": A, "b": B}, weights={"b": 2, "a": 1})
    assert given.fingerprint == mixture(sources={"a": A, "b": B}, weights={"a": 1.0, "b": 2}).fingerprint


@pytest.mark.parametrize(
    ("sources", "weights", "text"),
    [
        (
            {},
            None,
            "data.sources is empty: a mixture needs two sources at least. Add one, e.g. .data@data.sources.books",
        ),
        ({"a": A}, None, "data.sources has a alone: a mixture needs two"),
        ({"a": A, "b": None}, None, "data.sources.b=null names no source. Choose one, e.g."),
        ({"a": A, "b": A}, None, "data.sources.b is the same data as data.sources.a. Leave one out."),
        ({"a": A, "b": mixture(sources={"a": A, "b": B})}, None, "data.sources.b is a mixture itself"),
        ({"a": A, "b": B}, {"a": 1, "bb": 1}, "data.weights.bb=1: there is no source bb. Did you mean 'b'"),
        ({"a": A, "b": B}, {"a": 1, "b": -1}, "data.weights.b=-1: set a number of at least 0"),
        ({"a": A, "b": B}, {"a": 1, "b": float("nan")}, "data.weights.b=nan: set a number of at least 0"),
        ({"a": A, "b": B}, {"a": "x", "b": 1}, "data.weights.a=x: set a number of at least 0"),
        ({"a": A, "b": B}, {"a": True, "b": 1}, "data.weights.a=true: set a number of at least 0"),
        ({"a": A, "b": B}, {"a": 0, "b": 0}, "data.weights are all 0"),
        ({"a": A, "b": B}, {"a": 1}, "data.weights has none for b: set data.weights.b"),
    ],
)
def test_every_mistake_is_told(sources: dict[str, Any], weights: dict[str, Any] | None, text: str):
    with pytest.raises(UserError, match=text):
        mixture(sources=sources, weights=weights)
