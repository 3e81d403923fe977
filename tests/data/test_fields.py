"""Guards: a tokenizer trained on labels, and texts within lists that nobody reads."""

from manyheads.data.fields import TEXT, Fields
from manyheads.testing import Rows

TALK = Fields(("messages.content",), optional=("topic",))


def test_the_column_of_a_path_is_what_stands_before_the_dot() -> None:
    assert TALK.required == ("messages",)
    assert TALK.plain_texts == ()
    assert Fields(("a", "b"), ("a", "label")).required == ("a", "b", "label")


def test_strings_are_those_of_the_text_fields_in_order() -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}], "topic": "x"}
    assert list(TALK.strings(row)) == ["Hi", ""]
    assert list(Fields(("b", "a"), ("label",)).strings({"a": "1", "b": None, "label": "no"})) == ["", "1"]
    assert list(TALK.strings({"messages": None})) == []


def test_a_source_gives_the_texts_of_the_fields_that_were_asked_for() -> None:
    pairs = [{"source": f"s{i}", "target": f"t{i}", "n": i} for i in range(3)]
    source = Rows({"train": pairs, "validation": pairs[:1], "test": pairs[:1]})
    source.ask(Fields(("source", "target")))
    assert list(source.texts("train")) == [["s0", "t0", "s1", "t1", "s2", "t2"]]
    assert source.rows("test")[0] == {"source": "s0", "target": "t0"}


def test_without_a_question_a_row_is_a_text() -> None:
    assert Rows({"train": ["a"]}).fields == TEXT


def test_rows_without_a_text_are_cut_by_the_hash_of_their_first_field() -> None:
    talks = [{"messages": [{"role": "user", "content": f"talk {i}"}]} for i in range(40)]
    source = Rows({"train": talks}, validation_fraction=0.2)
    source.ask(TALK)
    parts = {
        split: [row["messages"][0]["content"] for row in source.rows(split)]
        for split in ("train", "validation", "test")
    }
    assert sorted(text for part in parts.values() for text in part) == sorted(f"talk {i}" for i in range(40))
    assert all(parts.values())
