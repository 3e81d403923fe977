"""Texts from prompts: tokens decoded as they come, cut at stop strings, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict, final

from torch import nn

from manyheads.decoding.generate import steps
from manyheads.decoding.sampling import Sampling, sampling
from manyheads.decoding.stop import StopText
from manyheads.errors import UserError, check_count
from manyheads.tokenizer.base import Tokenizer


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """How texts are continued; the README and `manyheads generate --help` explain each.

    Raises UserError for a value out of range.
    """

    max_new_tokens: int = 100
    temperature: float = 0.8  # 0: always the likeliest token
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 1
    stop: str | Sequence[str] = ()
    num_samples: int = 1  # of each prompt
    context: int | None = None  # most tokens read at once
    batch_size: int = 16  # texts side by side; changes the speed, never the texts

    def __post_init__(self) -> None:
        for key in ("max_new_tokens", "num_samples", "batch_size"):
            check_count(key, getattr(self, key))
        check_count("seed", self.seed, 0)
        self.sampling()
        if self.context is not None:
            check_count("context", self.context)
        if not isinstance(self.stop, Sequence):
            raise UserError(f"stop={self.stop}: set a text or a list of texts.")
        StopText(self.stops)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, however they were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def sampling(self) -> Sampling:
        """The strategy that the settings describe."""
        return sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )


class OptionValues(TypedDict, total=False):
    """The keyword arguments that make Options, `num_samples` apart."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    seed: int
    stop: str | Sequence[str]
    context: int | None
    batch_size: int


class Piece(NamedTuple):
    """A piece of a text, as soon as it is certain: whole characters, no beginning of a stop string."""

    prompt: int  # which prompt
    sample: int  # which of its samples
    text: str
    tokens: int  # new tokens of this text so far
    finish: str | None  # with the last piece: "end" (the text ended), "stop" (a stop string) or "length"


class Sample(NamedTuple):
    """One whole text."""

    place: int  # of its prompt among the prompts
    prompt: str
    sample: int  # which sample of its prompt, from 0
    text: str  # without the prompt
    tokens: int
    finish: str


def pieces(
    network: nn.Module, head: nn.Module, tokenizer: Tokenizer, prompts: Sequence[str], options: Options
) -> Iterator[Piece]:
    """Continues each prompt `options.num_samples` times; the pieces of one batch come interleaved.

    A text depends on the seed, its prompt's place among the prompts and its number among the samples, and on nothing
    else: not on the batch size, nor on how many samples there are. Raises UserError for a prompt that is no text.
    """
    ids = [encode(tokenizer, prompt) for prompt in prompts]
    keys = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(options.num_samples)]
    for start in range(0, len(keys), options.batch_size):
        batch = keys[start : start + options.batch_size]
        texts = [_Text(tokenizer, ids[prompt], options) for prompt, _ in batch]
        for row, token in steps(
            network,
            head,
            [ids[prompt] for prompt, _ in batch],
            end_id=tokenizer.end_id,
            max_new_tokens=options.max_new_tokens,
            sampling=options.sampling(),
            seed=options.seed,
            keys=batch,
            context=options.context,
            on_token=lambda row, token, texts=texts: texts[row].add(token),
        ):
            text = texts[row]
            finish = text.finish(ended=token == tokenizer.end_id)
            yield Piece(*batch[row], text.take(), text.tokens, finish)


def samples(
    network: nn.Module, head: nn.Module, tokenizer: Tokenizer, prompts: Sequence[str], options: Options
) -> Iterator[Sample]:
    """The whole texts, in the order of the prompts and their samples, each batch as soon as it is done."""
    texts: dict[tuple[int, int], str] = {}
    done: dict[tuple[int, int], Sample] = {}
    order = ((prompt, sample) for prompt in range(len(prompts)) for sample in range(options.num_samples))
    wanted = next(order, None)
    for piece in pieces(network, head, tokenizer, prompts, options):
        key = (piece.prompt, piece.sample)
        texts[key] = texts.get(key, "") + piece.text
        if piece.finish:
            done[key] = Sample(
                piece.prompt, prompts[piece.prompt], piece.sample, texts.pop(key), piece.tokens, piece.finish
            )
        while wanted in done:
            yield done.pop(wanted)
            wanted = next(order, None)


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text. Raises UserError for one that holds half a character, as a terminal can pass on."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"prompt {text!r} is not UTF-8 at character {error.start}: set a text of whole characters."
        ) from None
    return tokenizer.encode(text)


class _Text:
    """One text as far as it has come."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], options: Options) -> None:
        self.tokens = 0
        self._most = options.max_new_tokens
        self._stop = StopText(options.stops)
        self._stream = tokenizer.stream()
        # some tokenizers drop the space before the first token of all, which is the prompt's
        for token in prompt:
            self._stream.step(token)
        self._stream.flush()
        self._new = ""

    def add(self, token: int) -> bool:
        """Whether a stop string has appeared."""
        self.tokens += 1
        self._new += self._stop.push(self._stream.step(token))
        return self._stop.stopped

    def finish(self, *, ended: bool) -> str | None:
        """Why no more text comes, or None."""
        if not self._stop.stopped and (ended or self.tokens == self._most):
            self._new += self._stop.push(self._stream.flush())
            self._new += self._stop.flush()
            return "stop" if self._stop.stopped else "end" if ended else "length"
        return "stop" if self._stop.stopped else None

    def take(self) -> str:
        """The text since the last call."""
        new, self._new = self._new, ""
        return new
