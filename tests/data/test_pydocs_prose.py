"""Guards: doctests and markup left in, sentences cut at an abbreviation, lists run together, wrapped lines left apart."""

import inspect

import pytest

from manyheads.data.pydocs_prose import key, prose, summary_and_body, words

DOC = """f(x[, y]) -> value

Return a :class:`~pkg.Thing` made of ``x``, or ``None`` if nothing
was found.  See :func:`other`.

Arguments:
x -- the first of them, which is described here at such length that
     it goes on in the next line
y -- the second

.. deprecated:: 3.9
   Use g.

Text after it::

    code = 1

Examples:

>>> f(1)
2

>>> f(2)
3
"""


def test_what_is_no_prose_goes_and_lines_are_joined_where_they_were_wrapped() -> None:
    assert prose(DOC) == inspect.cleandoc("""
        Return a Thing made of x, or None if nothing was found. See other.

        Arguments:
        x -- the first of them, which is described here at such length that it goes on in the next line
        y -- the second

        Text after it:

            code = 1
        """)


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("name -- What it is.", "What it is."),
        ("name(a) -> What it gives.", ""),
        ("Return other - self.", "Return other - self."),
        ("Do it:\n\n>>> 1\n1", "Do it:"),
        ("Do it.\n\nFor instance:\n\n>>> 1\n1", "Do it."),
        ("A short line\n\nand another", "A short line\n\nand another"),
        ("One line that is quite long enough\nto go on below.", "One line that is quite long enough to go on below."),
        ("", ""),
    ],
)
def test_beginnings_and_ends(docstring: str, expected: str) -> None:
    assert prose(docstring) == expected


@pytest.mark.parametrize(
    ("text", "summary", "body"),
    [
        ("Do it. Then stop.\nNext.", "Do it.", "Then stop.\nNext."),
        ("Do it, e.g. Now. Then stop.", "Do it, e.g. Now.", "Then stop."),
        ("Read x.y of it\n\nMore.", "Read x.y of it", "More."),
        ("What it has:\n- a\n- b", "", "What it has:\n- a\n- b"),
        ("No end\nand no blank line", "", "No end\nand no blank line"),
        ("Is it (so)?", "Is it (so)?", ""),
    ],
)
def test_the_first_sentence_is_the_summary(text: str, summary: str, body: str) -> None:
    assert summary_and_body(text) == (summary, body)


def test_keys_and_words() -> None:
    assert key("Return the 2nd\n_Item_.") == key("return the nd item") == "return the nd item"
    assert words("Return the 2nd\n item.") == 4
