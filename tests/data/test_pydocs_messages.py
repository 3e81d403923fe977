"""Guards: turns that are not by turns, an answer that is wrong of its definition, a page that two topics tell."""

from collections import Counter
from collections.abc import Callable

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_messages import message_rows

Read = Callable[..., list[Definition]]
PAGE = """The "for" statement
*******************

   for_stmt ::= "for" target_list

The "for" statement is used to iterate over the elements of
a sequence.

It ends when there are no more elements in the sequence.
"""


def source(count: int) -> str:
    """Functions and classes whose docstrings differ by their letters."""
    names = ["".join("abcdefghij"[int(digit)] for digit in str(i)) for i in range(count)]
    return "".join(
        f'def open_{name}(where, how="{name}"):\n    """Open the {name} door.\n\n    It stays open for as long as {name}."""\n'
        f'class Door{name}(Thing):\n    """A door for {name}."""\n'
        for name in names
    )


def test_turns_and_their_number(defined: Read) -> None:
    rows = list(message_rows(defined(m=source(100)), {}))
    assert len(rows) == 200
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        said = [message["content"] for message in row["messages"]]
        assert len(set(said)) == len(said)
    counts = Counter(len(row["messages"]) for row in rows)
    assert set(counts) == {2, 4, 6}
    assert min(counts.values()) > 40
    assert len({row["messages"][0]["content"].replace("a", "") for row in rows}) > 50
    assert rows == list(message_rows(defined(m=source(100)), {}))


def test_answers_are_those_of_the_definition(defined: Read) -> None:
    answers = {
        message["content"] for row in message_rows(defined(m=source(100)), {}) for message in row["messages"][1::2]
    }
    assert {
        "Open the b door.",
        "A door for b.",
        "It derives from Thing.",
        "It is in the module m.",
        "It takes where and how.",
    } <= answers
    assert any(answer.startswith("def open_") for answer in answers)
    assert any(answer.startswith("It stays open for as long as ") for answer in answers)
    assert any(answer.startswith("You may leave out how: it is '") for answer in answers)


def test_private_ones_and_those_without_a_summary_are_not_talked_about(defined: Read) -> None:
    silent = 'def _f():\n    "Open the door."\ndef g():\n    "See f."\nclass _A:\n    def h(self):\n        "Shut the door."\n'
    assert list(message_rows(defined(m=silent), {})) == []


def test_topics_are_told_in_whole_sentences_and_once() -> None:
    rows = list(message_rows([], {"for": PAGE, "else": PAGE}))
    assert [row["module"] for row in rows] == ["topic:for"]
    opening, answer = (message["content"] for message in rows[0]["messages"][:2])
    assert 'the "for" statement' in opening
    assert answer == (
        'The "for" statement is used to iterate over the elements of a sequence.\n\n'
        "It ends when there are no more elements in the sequence."
    )
