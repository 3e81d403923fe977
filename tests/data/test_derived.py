"""Guards: rows that change their split because something was done to their texts, and raw bytes lost on the way."""

from manyheads.data.derived import RAW_BYTES, Derived, clip, evaluated
from manyheads.testing import Rows


def test_splits_are_those_of_the_inner_source_cut_as_it_cuts_them() -> None:
    inner = Rows({"train": [f"text {i}" for i in range(50)], "test": ["kept"]})
    outer = Derived(inner)
    assert outer.given == ("train", "validation", "test")
    for split in outer.given:
        assert outer.rows(split)["text"][:] == inner.rows(split)["text"][:]
    assert (outer.fingerprint, outer.notes, outer.reports, outer.name) == (inner.fingerprint, inner.notes, {}, "rows")


def test_without_train_only_what_is_given_is_there() -> None:
    assert Derived(Rows({"test": ["a"]})).given == ("test",)
    assert evaluated(Rows({"test": ["a"]})) == ["test"]
    assert evaluated(Rows({"train": ["a", "b", "c"]})) == ["validation", "test"]


def test_raw_bytes_come_from_the_column_where_it_is() -> None:
    class Sized(Derived):
        def load(self, split: str):
            return self.inner.rows(split).add_column(RAW_BYTES, [7, 9])

    inner = Rows({"train": ["a", None], "validation": ["v"], "test": ["t"]})  # type: ignore[list-item]
    assert list(Derived(inner).pieces("train")) == [(["a", ""], [1, 0])]
    assert list(Sized(inner).pieces("train")) == [(["a", ""], [7, 9])]


def test_a_long_text_is_shown_by_its_beginning() -> None:
    assert (clip("ab", 2), clip("abc", 2)) == ("ab", "ab...")
