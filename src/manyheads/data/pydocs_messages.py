"""Field messages: questions and answers in turn about what the standard library defines, and about Python's topics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_prose import words
from manyheads.data.pydocs_rows import Row
from manyheads.data.pydocs_summaries import is_summary
from manyheads.data.split import unit_hash

_MAX_EXCHANGES = 3
_MAX_WORDS = 120
"""Of an answer, unless its first paragraph has more."""

_MIN_PARAGRAPH = 8
"""Words. What is shorter in a topic is a heading or a rule of the grammar."""

_WHAT_IS_IT = (
    "What does {} do?",
    "What is {} for?",
    "Can you explain {} to me?",
    "I came across {}. What is it?",
    "Tell me about {}.",
    "{}?",
)
_WHAT_IS_TOPIC = (
    "Explain {} in Python.",
    "How does Python deal with {}?",
    "What should I know about {}?",
    "Tell me about {}.",
)
_MORE = ("Tell me more.", "Is there more to know?", "Can you say more about it?", "Go on.", "And in detail?")
_CALL = ("How do I write the call?", "What is its signature?", "Show me how it is defined.")
_ARGUMENTS = ("What arguments does it take?", "What do I have to pass?", "Which parameters are there?")
_DEFAULT = ("Do I have to give {}?", "What if I leave out {}?", "Is {} optional?")
_BASE = ("What does it derive from?", "Which class is its base?", "What is it a subclass of?")
_PLACE = ("Where do I find it?", "Which module is it in?", "What do I have to import?")

Exchange = tuple[str, str]
"""What the user asks and the assistant answers."""

T = TypeVar("T")


def message_rows(definitions: Iterable[Definition], topics: Mapping[str, str]) -> Iterator[Row]:
    """A talk of one to three questions with their answers on each public definition that has a summary, and each topic.

    Whatever varies is drawn by the hash of the name, so a definition's talk stays as it is when others are added.
    """
    for definition in definitions:
        if definition.is_public and is_summary(definition.summary):
            yield _row(definition.module, _about(definition))
    seen: set[str] = set()
    for topic, page in topics.items():
        paragraphs = [part for part in _paragraphs(page) if part not in seen]  # some topics share a page
        seen.update(paragraphs)
        if paragraphs:
            yield _row(f"topic:{topic}", _about_topic(topic, _title(page, topic), paragraphs))


def _row(module: str, exchanges: Sequence[Exchange]) -> Row:
    roles = ("user", "assistant")
    turns = [
        {"role": role, "content": said} for exchange in exchanges for role, said in zip(roles, exchange, strict=True)
    ]
    return {"messages": turns, "module": module}


def _about(definition: Definition) -> list[Exchange]:
    name = definition.dotted
    what = "the module {}" if not definition.name else "the class {}" if definition.is_class else "{}"
    opening = _drawn(_WHAT_IS_IT, f"opening {name}").format(what.format(name))
    further = sorted(_further(definition), key=lambda exchange: unit_hash(f"{name} {exchange[1]}"))
    return [(_capital(opening), _sentence(definition.summary)), *further[: int(unit_hash(name) * _MAX_EXCHANGES)]]


def _further(definition: Definition) -> Iterator[Exchange]:
    name, signature = definition.dotted, definition.signature
    if words(definition.body) > 4:
        yield _drawn(_MORE, name), "\n\n".join(_beginning(definition.body.split("\n\n"))).removesuffix(":")
    if len(signature.bases) == 1 and signature.bases[0] != "object":
        yield _drawn(_BASE, name), f"It derives from {signature.bases[0]}."
    if definition.name:
        yield _drawn(_PLACE, name), f"It is in the module {name.removesuffix(f'.{definition.name}')}."
    if not definition.is_class and definition.name:
        yield _drawn(_CALL, name), signature.text
        if not re.search(r"\*\w", signature.text):
            yield _drawn(_ARGUMENTS, name), _arguments(signature.parameters)
        for parameter, span in [found for found in signature.defaults.items() if not found[0].startswith("_")][:1]:
            asked = _drawn(_DEFAULT, name).format(parameter)
            yield asked, f"You may leave out {parameter}: it is {signature.text[slice(*span)]} by default."


def _arguments(parameters: Sequence[str]) -> str:
    if not parameters:
        return "It takes no arguments."
    *most, last = parameters
    return f"It takes {', '.join(most)} and {last}." if most else f"It takes one argument, {last}."


def _paragraphs(page: str) -> list[str]:
    """Those of whole sentences, without headings, grammar, tables, lists and code."""
    parts = [part for part in re.split(r"\n\s*\n", page) if part[:1].isalpha() or part[:1] == '"']
    joined = [" ".join(part.split()) for part in parts if "\n***" not in part]
    return [part for part in joined if words(part) >= _MIN_PARAGRAPH and part[-1] in ".!?)"]


def _about_topic(topic: str, title: str, paragraphs: Sequence[str]) -> list[Exchange]:
    opening = _drawn(_WHAT_IS_TOPIC, topic).format(title)
    questions = [opening, *(_drawn(_MORE, topic, place) for place in range(1, _MAX_EXCHANGES))]
    exchanges, left = [], list(paragraphs)
    for question in questions[: 1 + int(unit_hash(topic) * _MAX_EXCHANGES)]:
        if left:
            answer = _beginning(left)
            exchanges.append((question, "\n\n".join(answer)))
            left = left[len(answer) :]
    return exchanges


def _title(page: str, topic: str) -> str:
    """The page's heading, as it is within a sentence."""
    heading = page.strip().split("\n")[0].strip().replace("The ", "the ", 1)
    return heading if 0 < words(heading) <= 6 and heading[-1] not in ".:" else topic


def _beginning(paragraphs: Sequence[str]) -> list[str]:
    """The first paragraph, and those after it while there is room."""
    taken = list(paragraphs[:1])
    for part in paragraphs[1:]:
        if words(" ".join([*taken, part])) > _MAX_WORDS:
            break
        taken.append(part)
    return taken


def _sentence(text: str) -> str:
    said = _capital(text)
    return said if said[-1] in ".!?" else f"{said}."


def _capital(text: str) -> str:
    word = text.split(maxsplit=1)[0]
    return f"{text[0].upper()}{text[1:]}" if word.isalpha() and word.islower() else text


def _drawn(choices: Sequence[T], name: str, place: int = 0) -> T:
    """One of the choices by the name; at another place, another."""
    return choices[(int(unit_hash(f"drawn {name}") * len(choices)) + place) % len(choices)]
