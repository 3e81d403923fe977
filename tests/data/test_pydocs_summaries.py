"""Guards: a summary that its document holds, one that says nothing, a document shorter than its summary."""

from collections.abc import Callable

import pytest

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_summaries import is_summary, summary_rows

SOURCE = '''
def good():
    """Open the door and go.

    The door is opened as far as it goes. Raises OSError where there is none."""
def bare():
    """Close it again."""
def again():
    """Move the turtle forward.

    First of all: move the turtle forward, in the direction that it is headed to."""
def short():
    """Turn the page over to the other side, wherever it is.

    See the book."""
def legal():
    """Talk about the rights.

    Copyright by somebody who wrote this some time ago, and more words."""
'''


def test_a_document_says_more_than_its_summary(defined: Callable[..., list[Definition]]) -> None:
    assert list(summary_rows(defined(m=SOURCE))) == [
        {
            "document": "The door is opened as far as it goes. Raises OSError where there is none.",
            "summary": "Open the door and go.",
            "module": "m",
        }
    ]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Open the door.", True),
        ("Seek to the end.", True),
        ("Open it.", False),
        ("See the other one.", False),
        ("Deprecated since 3.9.", False),
        ("address = mailbox / group", False),
        ("-> what is returned", False),
        ("", False),
    ],
)
def test_what_is_a_summary(sentence: str, expected: bool) -> None:
    assert is_summary(sentence) is expected
