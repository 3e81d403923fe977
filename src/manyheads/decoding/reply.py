"""Replies in a dialogue, token by token: what is read of the history, and where a reply ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict, final

from torch import nn

from manyheads.decoding.generate import steps
from manyheads.decoding.options import TEMPERATURE
from manyheads.decoding.sampling import Sampling, sampling
from manyheads.errors import UserError, check_count
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.chat_template import ASSISTANT, SYSTEM, USER, ChatTemplate, Message, fault, fitting

ASKED: dict[str, Callable[[list[int]], tuple[list[int], list[int] | None]]] = {
    "causal": lambda tokens: (tokens[1:], None),
    "counting": lambda tokens: (tokens[1:], None),
    "encoder-decoder": lambda tokens: ([], tokens),
}
"""By the kind of the network: (what it goes on from, what its encoder reads) for the tokens of a dialogue."""


@final
@dataclass(frozen=True, kw_only=True)
class ReplyOptions:
    """How a reply is written; `manyheads chat --help` explains each. Raises UserError for a value out of range."""

    max_new_tokens: int = 200
    temperature: float = TEMPERATURE  # 0: always the likeliest token
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 1
    context: int | None = None  # most tokens of history and reply together

    def __post_init__(self) -> None:
        check_count("max_new_tokens", self.max_new_tokens)
        check_count("seed", self.seed, 0)
        if self.context is not None:
            check_count("context", self.context)
        self.sampling()

    def sampling(self) -> Sampling:
        """The strategy that the settings describe."""
        return sampling(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )  # fmt: skip


class ReplyValues(TypedDict, total=False):
    """The keyword arguments that make ReplyOptions."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    seed: int
    context: int | None


class ReplyPiece(NamedTuple):
    """A piece of a reply, as soon as it is certain: whole characters."""

    text: str
    tokens: int  # of the reply so far
    finish: str | None  # with the last piece: "end" (the turn ended) or "length"


class Read(NamedTuple):
    """What is read of a dialogue before a reply."""

    ids: list[int]  # the assistant's marker at the end
    places: list[int]  # of the messages that are left
    room: int  # tokens that the reply may have


def check_talks(tokenizer: Tokenizer, run: object) -> None:
    """Raises UserError, naming the run, unless it has learned dialogues."""
    if tokenizer.chat_template is None:
        raise UserError(
            f"{run} has learned no dialogues. Train a run with `manyheads train task=chat`, or let this one write with "
            "`manyheads generate`."
        )


def readable(tokenizer: Tokenizer, messages: Sequence[Message], options: ReplyOptions) -> Read:
    """What is read of a dialogue that ends with a user's turn.

    History and reply have `options.context` tokens together; `max_new_tokens`, but at most half of them, are kept free.
    Where that is too few for all turns, whole ones go as `fitting` says; the last turn is read also where it leaves less.
    Raises UserError for what is no such dialogue, and for a last turn that leaves no room.
    """
    if wrong := fault(messages):
        raise UserError(f"{wrong}. Mend it.")
    if messages[-1]["role"] != USER:
        raise UserError(
            "messages ends with a turn of the assistant: a reply is to a user. Leave it out, or add a user's turn."
        )
    template, context = ChatTemplate(tokenizer), options.context
    roles = [message["role"] for message in messages]
    contents = tokenizer.encode_batch([message["content"] for message in messages])
    lengths = [len(content) for content in contents]
    # the last token of a reply is never read, and the assistant's marker takes its place
    free = min(options.max_new_tokens, (context or 0) // 2)
    places = fitting(roles, lengths, None if context is None else context - free)
    places = places or [*(place for place, role in enumerate(roles) if role == SYSTEM), len(roles) - 1]
    ids = template.of([roles[place] for place in places], [contents[place] for place in places], asks=True).ids
    room = options.max_new_tokens if context is None else min(options.max_new_tokens, context + 1 - len(ids))
    if room < 1:
        raise UserError(
            f"the last message has {lengths[-1]} tokens, and {context} is the most that are read together with a reply. "
            "Say less, or set a higher context."
        )
    return Read(ids, places, room)


def reply(
    network: nn.Module, head: nn.Module, tokenizer: Tokenizer, messages: Sequence[Message], options: ReplyOptions
) -> Iterator[ReplyPiece]:
    """The assistant's next turn, piece by piece. It depends on the seed and on the messages alone.

    It ends at the end of the turn, or at any other marker. What ends turns, and markers, count for no repetition.
    Raises UserError as `readable` does.
    """
    template = ChatTemplate(tokenizer)
    read = readable(tokenizer, messages, options)
    prompt, source = ASKED[str(network.kind)](read.ids)
    ends = template.ends | {tokenizer.end_id}
    stream = tokenizer.stream()
    found = steps(
        network, head, [prompt], sources=None if source is None else [source], end_id=tokenizer.end_id,
        max_new_tokens=read.room, context=options.context, sampling=options.sampling(), seed=options.seed, keys=[len(messages)],
        on_token=lambda row, token: token in ends, unpenalized=ends,
    )  # fmt: skip
    for count, (_, token) in enumerate(found, 1):
        ended, last = token in ends, count == read.room
        text = "" if ended else stream.step(token)
        if ended or last:
            yield ReplyPiece(text + stream.flush(), count, "end" if ended else "length")
            return
        if text:
            yield ReplyPiece(text, count, None)


def replied(messages: Sequence[Message], text: str) -> list[Message]:
    """The dialogue with the reply."""
    return [*messages, {"role": ASSISTANT, "content": text}]
