"""Fields document and summary: what a docstring says in full, and its first sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_prose import key, words
from manyheads.data.pydocs_rows import Row

_SUMMARY_WORDS = range(3, 41)
_DOCUMENT_WORDS = range(10, 401)
_NO_SUMMARY = re.compile(
    r"(see|deprecated|obsolete|internal|xxx|todo|fixme|not implemented|override|overridden|helper|alias|same as|like|as for"
    r"|synonym|as above|ditto|version|copyright|note|warning|this (function|method|class) is)\b",
    re.IGNORECASE,
)
_LEGAL = re.compile(
    r"copyright|all rights reserved|licensed|^(written|originally|contributed|author\w*)\b.*$", re.I | re.M
)


def summary_rows(definitions: Iterable[Definition]) -> Iterator[Row]:
    """One row for each docstring that says more than its summary does and does not say that again."""
    for definition in definitions:
        if is_summary(definition.summary) and _adds(definition.body, definition.summary):
            yield {"document": definition.body, "summary": definition.summary, "module": definition.module}


def is_summary(sentence: str) -> bool:
    """Whether a first sentence says what the thing is or does, not where to look for it."""
    a_rule = " = " in sentence  # of a grammar, which the parsers of mail have instead
    return (
        words(sentence) in _SUMMARY_WORDS and sentence[0].isalpha() and not a_rule and not _NO_SUMMARY.match(sentence)
    )


def _adds(body: str, summary: str) -> bool:
    if words(body) not in _DOCUMENT_WORDS or len(body) <= len(summary) or _LEGAL.search(body):
        return False
    return key(summary) not in key(body)
