"""Guards: answers that are not at their place, parts of sentences as answers, questions that only look unanswerable."""

from collections.abc import Callable, Iterable

import pytest

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_questions import question_rows
from manyheads.data.pydocs_rows import Row

Read = Callable[..., list[Definition]]


def answered(rows: Iterable[Row]) -> dict[str, str]:
    """The answer to each question that has one, read from the context where it is said to be."""
    found = {}
    for row in rows:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text
            found[row["question"]] = text
    return found


def test_what_is_asked_of_a_function(defined: Read) -> None:
    source = '''
def find(where, what=0, *, deep=True):
    """Return the place of it, or -1. Look twice.

    Args:
        where: the list to look in
        what -- the thing, e.g. a number.

    Raises KeyError if the list is empty; else none.
    Raises:
        ValueError: when what is no number.
    """
'''
    assert answered(question_rows(defined(m=source))) == {
        "What is the default of what in find?": "0",
        "What is the default of deep in find?": "True",
        "What is where in find?": "the list to look in",
        "What does find return?": "the place of it, or -1",
        "When does find raise KeyError?": "if the list is empty",
        "What does find raise if the list is empty?": "KeyError",
        "When does find raise ValueError?": "when what is no number",
        "What does find raise when what is no number?": "ValueError",
    }


def test_rows_have_the_schema_of_squad(defined: Read) -> None:
    (row,) = question_rows(defined(m='class A(Base):\n    "About it."\n'))
    assert row == {
        "context": "class A(Base)\nAbout it.",
        "question": "What is the base class of A?",
        "answers": {"text": ["Base"], "answer_start": [8]},
        "id": "m:A:base",
        "module": "m",
    }


@pytest.mark.parametrize(
    "doc",
    [
        "Return the thing in the form: (a, b).",
        "Return what is found (e.g. this.",
        "Return to where it was.",
        "It may return what it wants.",
        "Return value is a number.",
        f"Return {' '.join(['more'] * 26)}.",
    ],
)
def test_what_is_no_answer(defined: Read, doc: str) -> None:
    assert answered(question_rows(defined(m=f"def f():\n    {doc!r}\n"))) == {}


def test_what_is_left_open_is_in_no_way_said(defined: Read) -> None:
    """Many functions, so that each kind of question is drawn."""
    source = "".join(
        f'def f{i}(a, b, timeout=None, c={i}):\n    "Do {"ab"[i % 2]} {i} times, word{"x" * i}. Raises KeyError if it is bad."\n'
        for i in range(1, 120)
    )
    rows = list(question_rows(defined(m=source)))
    without = [row for row in rows if row["answers"] == {"text": [], "answer_start": []}]
    assert 0.1 < len(without) / len(rows) < 0.2
    kinds = {row["id"].split(":")[2].split()[0] for row in without}
    assert kinds == {"default", "is", "returns", "when"}
    for row in without:
        kind, *about = row["id"].split(":")[2].split()
        assert about != ["KeyError"]
        assert kind != "default" or about[0] not in ("timeout", "c")
        assert kind != "is" or f"Do {about[0]} " not in row["context"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert list(question_rows(defined(m=source))) == rows


def test_of_a_getter_and_its_setter_the_first_is_asked_about(defined: Read) -> None:
    source = 'class A:\n    def x(self, a=1):\n        "Get it so."\n    def x(self, a=2):\n        "Set it so."\n'
    assert answered(question_rows(defined(m=source))) == {"What is the default of a in A.x?": "1"}
