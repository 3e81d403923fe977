"""Dialogues as tokens: which markers stand around a turn, which tokens are learned, which turns a limit leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from manyheads.errors import UserError, did_you_mean
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.special import ids_of, with_special

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = (SYSTEM, USER, ASSISTANT)
MARKERS = {role: f"<|{role}|>" for role in ROLES}
"""The special token that begins a turn of each role."""

TURN_END = "<|end|>"
"""The special token that ends every turn."""

NAMES = (*MARKERS.values(), TURN_END)

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The same in Jinja, as `transformers` reads it. It writes a text, in which a marker that somebody has typed is one; the
tokens of `ChatTemplate` cannot be forged."""

Message = Mapping[str, Any]
"""A turn: its "role" and its "content"."""


class Tokens(NamedTuple):
    """A dialogue, or a part of it."""

    ids: list[int]
    learned: list[bool]  # of each token, whether it is the assistant's: the content of a reply, and what ends its turn


def with_markers(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with the markers as special tokens behind its ids; itself, where it has them already.

    Raises UserError when a marker is a piece that its texts are made of, so that anybody could write it.
    """
    if tokenizer.chat_template == TEMPLATE:
        return tokenizer
    found = with_special(tokenizer, NAMES)
    for marker, token in zip(NAMES, ids_of(found, NAMES), strict=True):
        if token in found.encode(marker):
            raise UserError(
                f"tokenizer ({tokenizer.name}): {marker} is one of its pieces of text, so that a text could pass for the "
                f"marker of a turn. Set tokenizer=byte or tokenizer=bpe, or take {marker} out of the data."
            )
    return Tokenizer(found.backend, name=found.name, lossless=found.lossless, end=found.end, chat_template=TEMPLATE)


@final
class ChatTemplate:
    """Writes dialogues in tokens: the end token as before every text, then each turn as its role's marker, the tokens of its
    content, and the token that ends it. Contents are encoded each by itself and as plain text, so that nothing in them
    is a marker.

    Args:
        tokenizer: one `with_markers`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        assert tokenizer.chat_template == TEMPLATE, "the tokenizer has no markers"
        self.tokenizer = tokenizer
        *markers, self.turn_end = ids_of(tokenizer, NAMES)
        self.markers: dict[str, int] = dict(zip(ROLES, markers, strict=True))

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end a reply: the end of a turn, and what can only come after it."""
        return frozenset({self.turn_end, *self.markers.values()})

    def __call__(self, messages: Sequence[Message], *, asks: bool = False) -> Tokens:
        """The tokens of a dialogue; with `asks`, the assistant's marker at the end, to go on from."""
        contents = self.tokenizer.encode_batch([message["content"] for message in messages])
        return self.of([message["role"] for message in messages], contents, asks=asks)

    def of(self, roles: Sequence[str], contents: Sequence[Sequence[int]], *, asks: bool = False) -> Tokens:
        """The same of contents that are encoded already."""
        ids, learned = [self.tokenizer.end_id], [False]
        for role, content in zip(roles, contents, strict=True):
            ids += [self.markers[role], *content, self.turn_end]
            learned += [False, *[role == ASSISTANT] * (len(content) + 1)]
        if asks:
            ids, learned = [*ids, self.markers[ASSISTANT]], [*learned, False]
        return Tokens(ids, learned)


def fitting(roles: Sequence[str], lengths: Sequence[int], limit: int | None) -> list[int] | None:
    """The places of the turns that are left when a dialogue may be at most `limit` tokens long.

    Whole turns go, from the beginning, a user's with its reply; a system turn stays. None when the last of the user's turns
    and what follows it are too long. `lengths` are those of the contents.
    """
    kept = [place for place, role in enumerate(roles) if role == SYSTEM]
    starts = [place for place, role in enumerate(roles) if role == USER]
    for start in starts:
        places = [*kept, *range(start, len(roles))]
        if limit is None or 1 + sum(lengths[place] + 2 for place in places) <= limit:
            return places
    return None


def fault(messages: Any) -> str | None:
    """What keeps `messages` from being a dialogue: [system] user assistant user ..., each with a content; None: nothing."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return f"messages is no list of {{role, content}} but {_kind(messages)}"
    before = None
    for place, message in enumerate(messages):
        found = _fault_in(message) or _fault_of_order(message["role"], before)
        if found:
            return f"messages[{place}]{found}"
        before = message["role"]
    return "messages is empty" if before in (None, SYSTEM) else None


def _fault_in(message: Any) -> str | None:
    """What is wrong with a turn by itself."""
    if not isinstance(message, Mapping):
        return f" is no {{role, content}} but {_kind(message)}"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return f".role={role} is none of {', '.join(ROLES)}.{did_you_mean(str(role), ROLES)}".rstrip(".")
    if not isinstance(content, str):
        return f".content is no text but {_kind(content)}"
    if not content.strip():
        return ".content is empty"
    try:
        content.encode()
    except UnicodeEncodeError as error:
        return f".content is not UTF-8 at character {error.start}"
    return None


def _fault_of_order(role: str, before: str | None) -> str | None:
    """What is wrong with a turn after one of the role `before`; None: it is the first."""
    if role == before:
        return f".role={role} follows a turn of the same role: join the two"
    if role == SYSTEM and before is not None:
        return ".role=system: only the first turn can be the system's"
    if role == ASSISTANT and before != USER:
        return ".role=assistant: the user speaks first"
    return None


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
