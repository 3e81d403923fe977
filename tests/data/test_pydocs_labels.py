"""Guards: a label that is not the module's group, docstrings too short to tell."""

from collections.abc import Callable

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_labels import label_rows

LONG = " ".join(["word"] * 301)


def test_docstrings_of_known_modules_with_their_group(defined: Callable[..., list[Definition]]) -> None:
    found = defined(
        json='"""Encode and decode texts as JSON."""\ndef f():\n    "Too short."\n',
        _pydecimal='"""Count with numbers to many places."""',
        own_module='"""A module that is in no group."""',
        shutil=f'"""{LONG}"""',
    )
    assert list(label_rows(found)) == [
        {"text": "Encode and decode texts as JSON.", "label": "web", "module": "json"},
        {"text": "Count with numbers to many places.", "label": "numbers", "module": "_pydecimal"},
    ]
