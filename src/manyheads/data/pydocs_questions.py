"""Fields context, question, answers and id: questions about a signature and its docstring, in SQuAD's schema.

The schema and the questions without an answer are those of SQuAD 2.0 (Rajpurkar et al. 2018, "Know What You Don't Know"):
answers holds texts of the context and the characters where they start, or two empty lists.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_prose import key, words
from manyheads.data.pydocs_rows import Row
from manyheads.data.split import unit_hash

_MAX_CONTEXT = 1_200
"""Characters."""

_MAX_ANSWER, _MAX_QUESTION = 25, 30
"""Words."""

_WITHOUT_ANSWER = 0.2
"""Questions without an answer for each one with an answer, where anything is left open: 15% of all."""

_EXCEPTION = r"(?P<error>[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning)|StopIteration)"
_UP_TO = r"\S[^;\n]*?)(?=[.;](?:\s|$)|\s*(?:\n|$))"
"""To the end of the sentence, or of the line, which is that of an item in a list."""

_CONDITION = rf"(?P<condition>(?:if|when|unless|for) {_UP_TO}"
_RAISES = re.compile(rf"\b[Rr]ais(?:es?|ing) (?:an? |the )?\*?{_EXCEPTION}\b\*?(?: exception| error)?,? {_CONDITION}")
_RAISES_LIST = re.compile(rf"(?m)^\s*{_EXCEPTION}(?: ?--?|:)? {_CONDITION}")
_RETURNS = re.compile(rf"(?:^|(?<=\n)|(?<=[.!] ))Returns? (?P<value>{_UP_TO}")
_DESCRIBED = r"(?m)^\s*(?:[-*] )?(?::param )?[*'`]?{0}[*'`]?(?:: | -{{1,2}} )\s*(?P<said>" + _UP_TO
_CUT_SHORT = re.compile(r"([:.,]|\be\.g|\bi\.e|\bvs|\bthe|\ba|\bof|\bor|\band|\w:\s.*)$")
"""How a phrase ends, or goes on, that is no answer."""

_NO_VALUE = re.compile(
    r"(to|from|with|without|in|on|control|immediately|if|whether|when|the following|the same|values? is)\b"
)
_EXCEPTIONS = ("KeyError", "ValueError", "TypeError", "OSError", "IndexError", "RuntimeError", "AttributeError")
_FOREIGN = ("encoding", "timeout", "mode", "key", "flags", "strict", "buffering", "loop", "errors")
_SAY_NOTHING = 0.2
"""Share of the functions without a word of errors that are asked for one: more, and "when" would tell the answer."""


class Question(NamedTuple):
    """A question, and the first and end character of its answer in the context; both 0 when there is none."""

    name: str
    text: str
    start: int = 0
    end: int = 0


def question_rows(definitions: Iterable[Definition]) -> Iterator[Row]:
    """The questions on each class and function whose signature and docstring are not too long, answerable or not.

    About 15% have no answer: the parameter is not there, has no default or is not described, or nothing is said of what
    is returned or raised.
    """
    seen = set()
    for definition in definitions:
        context = f"{definition.signature.text}\n{definition.doc}"
        place = (definition.module, definition.name)  # a property's setter has the name of its getter
        if definition.name and place not in seen and len(context) <= _MAX_CONTEXT:
            seen.add(place)
            yield from (_row(definition, context, question) for question in _questions(definition, context))


def _questions(definition: Definition, context: str) -> Iterator[Question]:
    asked: set[str] = set()
    without = iter(_unanswerable(definition, context))
    for question in _answerable(definition, context):
        if question.name not in asked and _is_whole(question, context):
            asked.add(question.name)
            yield question
            if unit_hash(f"{definition.dotted} {question.name}") < _WITHOUT_ANSWER:
                yield from itertools.islice(without, 1)


def _is_whole(question: Question, context: str) -> bool:
    """Whether question and answer are short, and no part of a sentence that goes on elsewhere."""
    answer = context[question.start : question.end]
    short = words(answer) <= _MAX_ANSWER and words(question.text) <= _MAX_QUESTION
    closed = all(text.count("(") == text.count(")") for text in (answer, question.text))
    return short and closed and not _CUT_SHORT.search(answer)


def _row(definition: Definition, context: str, question: Question) -> Row:
    answer = context[question.start : question.end]
    found = {"text": [answer], "answer_start": [question.start]} if answer else {"text": [], "answer_start": []}
    assert all(context.startswith(text, start) for text, start in zip(*found.values(), strict=True))
    return {
        "context": context,
        "question": question.text,
        "answers": found,
        "id": f"{definition.module}:{definition.name}:{question.name}",
        "module": definition.module,
    }


def _answerable(definition: Definition, context: str) -> Iterator[Question]:
    signature = definition.signature
    if len(signature.bases) == 1:
        start = signature.text.index("(") + 1
        yield _base_of(definition, start, start + len(signature.bases[0]))
    yield from _defaults(definition)
    yield from _described(definition, context)
    value = _RETURNS.search(context, len(signature.text))
    if value and not _NO_VALUE.match(value["value"]):
        yield _value_of(definition, *value.span("value"))
    for pattern in (_RAISES, _RAISES_LIST):
        for found in pattern.finditer(context, len(signature.text)):
            asked = f"What does {definition.name} raise {found['condition']}?"
            yield _time_of(found["error"], definition, *found.span("condition"))
            yield Question(f"error {found['condition']}", asked, *found.span("error"))


def _defaults(definition: Definition) -> Iterator[Question]:
    """Two at most; None, which half of all defaults are, of one parameter in three."""
    text, spans = definition.signature.text, definition.signature.defaults
    told = {
        p: s for p, s in spans.items() if text[slice(*s)] != "None" or unit_hash(f"{definition.dotted} {p}") < 1 / 3
    }
    for parameter, span in list(told.items())[:2]:
        yield _default_of(parameter, definition, *span)


def _described(definition: Definition, context: str) -> Iterator[Question]:
    """What a line `parameter: ...` or `parameter -- ...` says."""
    for parameter in definition.signature.parameters:
        found = re.compile(_DESCRIBED.format(re.escape(parameter))).search(context, len(definition.signature.text))
        if found and words(found["said"]) > 1:
            yield _meaning_of(parameter, definition, *found.span("said"))


def _unanswerable(definition: Definition, context: str) -> list[Question]:
    """A question of each kind that the context leaves open, in an order drawn by the definition's name."""
    doc = set(key(definition.doc).split())
    chosen = [
        min(questions, key=lambda question: unit_hash(f"{definition.dotted}?{question.name}"))
        for questions in map(list, (kind(definition, doc) for kind in _OPEN))
        if questions
    ]
    return sorted(chosen, key=lambda question: unit_hash(f"{question.name}?{definition.dotted}"))


def _open_defaults(definition: Definition, doc: set[str]) -> Iterator[Question]:
    signature = definition.signature
    foreign = [parameter for parameter in _FOREIGN if parameter not in doc and parameter not in signature.text]
    for parameter in (*signature.parameters, *foreign):
        if parameter not in signature.defaults and not doc & {"default", "defaults", "omitted"}:
            yield _default_of(parameter, definition)


def _open_parameters(definition: Definition, doc: set[str]) -> Iterator[Question]:
    for parameter in definition.signature.parameters:
        if not set(key(parameter).split()) & doc:
            yield _meaning_of(parameter, definition)


def _open_returns(definition: Definition, doc: set[str]) -> Iterator[Question]:
    told = doc & {"return", "returns", "returning", "returned", "yield", "yields", "get", "gets", "whether", "init"}
    if not definition.is_class and not told and not definition.name.endswith("__init__"):
        yield _value_of(definition)


def _open_errors(definition: Definition, doc: set[str]) -> Iterator[Question]:
    """Those of what raises another error, and of a few that are not said to raise any."""
    raises = bool(doc & {"raise", "raises", "raised"})
    if not definition.is_class and (raises or unit_hash(definition.dotted) < _SAY_NOTHING):
        for error in _EXCEPTIONS:
            if error.lower() not in doc:
                yield _time_of(error, definition)


def _open_bases(definition: Definition, doc: set[str]) -> Iterator[Question]:
    if definition.is_class and not definition.signature.bases:
        yield _base_of(definition)


_OPEN = (_open_defaults, _open_parameters, _open_returns, _open_errors, _open_bases)


def _base_of(definition: Definition, *span: int) -> Question:
    return Question("base", f"What is the base class of {definition.name}?", *span)


def _value_of(definition: Definition, *span: int) -> Question:
    return Question("returns", f"What does {definition.name} return?", *span)


def _time_of(error: str, definition: Definition, *span: int) -> Question:
    return Question(f"when {error}", f"When does {definition.name} raise {error}?", *span)


def _meaning_of(parameter: str, definition: Definition, *span: int) -> Question:
    return Question(f"is {parameter}", f"What is {parameter} in {definition.name}?", *span)


def _default_of(parameter: str, definition: Definition, *span: int) -> Question:
    return Question(f"default {parameter}", f"What is the default of {parameter} in {definition.name}?", *span)
