"""Guards: a tokenizer that is trained on one member alone, and data that changes without its fingerprint."""

from manyheads.data.fields import Fields
from manyheads.data.together import Together
from manyheads.testing import Rows


def make(second: str = "two") -> Together:
    one = Rows({"train": ["a", "b"], "validation": ["c"], "test": ["d"]})
    rows = [{"text": text, "label": text} for text in ("x", second, "y", "z", "w", "v")]
    other = Rows({"train": rows})
    other.ask(Fields(("text",), ("label",)))
    return Together({"one": one, "other": other})


def test_texts_are_those_of_all_members() -> None:
    texts = [text for texts in make().texts("train") for text in texts]
    assert texts[:2] == ["a", "b"]
    assert set(texts[2:]) < {"x", "two", "y", "z", "w", "v"}
    assert next(sizes for _, sizes in make().pieces("validation")) == [1]


def test_the_fingerprint_goes_by_every_member_and_what_it_was_asked() -> None:
    assert make().fingerprint == make().fingerprint
    assert make().fingerprint != make("three").fingerprint
    changed = make()
    changed.members["other"].ask(Fields(("text",)))
    assert changed.fingerprint != make().fingerprint


def test_it_has_the_splits_that_all_have_and_says_what_each_says() -> None:
    together = make()
    assert together.given == ("train", "validation", "test")
    assert together.name == "rows"
    assert all(note.startswith("other: ") for note in together.notes)
    assert together.notes
