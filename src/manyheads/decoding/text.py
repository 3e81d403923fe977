"""Texts from prompts: tokens decoded as they come, cut at stop strings, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import nn

from manyheads.decoding.beam import beam_search
from manyheads.decoding.generate import steps
from manyheads.decoding.options import Options
from manyheads.decoding.stop import StopText
from manyheads.errors import UserError, written
from manyheads.tokenizer.base import Tokenizer


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
    score: float | None = None  # of beams; see `beam.Hypothesis`


AsSource = Callable[[list[int]], list[int]]
"""From the tokens of a prompt to what an encoder reads of it; the text is not the prompt's continuation then, but new."""


def pieces(
    network: nn.Module,
    head: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: Options,
    as_source: AsSource | None = None,
) -> Iterator[Piece]:
    """Continues each prompt `options.num_samples` times; the pieces of one batch come interleaved.

    A text depends on the seed, its prompt's place among the prompts and its number among the samples, and on nothing
    else: not on the batch size, nor on how many samples there are. With beams each text is one piece.
    Raises UserError for a prompt that is no text.
    """
    if options.num_beams > 1:
        for found in _best(network, head, tokenizer, prompts, options, as_source):
            yield Piece(found.place, found.sample, found.text, found.tokens, found.finish)
        return
    allowed = options.constraint(tokenizer)
    ids, sources = _read(tokenizer, prompts, as_source)
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
            sources=sources and [sources[prompt] for prompt, _ in batch],
            no_repeat_ngram=options.no_repeat_ngram,
            allowed=allowed,
        ):
            text = texts[row]
            finish = text.finish(ended=token == tokenizer.end_id)
            yield Piece(*batch[row], text.take(), text.tokens, finish)


def samples(
    network: nn.Module,
    head: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: Options,
    as_source: AsSource | None = None,
) -> Iterator[Sample]:
    """The whole texts, in the order of the prompts and their samples, each batch as soon as it is done.

    With beams, the best texts of each prompt, the best first: fewer than `num_samples` where fewer are possible.
    """
    if options.num_beams > 1:
        yield from _best(network, head, tokenizer, prompts, options, as_source)
        return
    texts: dict[tuple[int, int], str] = {}
    done: dict[tuple[int, int], Sample] = {}
    order = ((prompt, sample) for prompt in range(len(prompts)) for sample in range(options.num_samples))
    wanted = next(order, None)
    for piece in pieces(network, head, tokenizer, prompts, options, as_source):
        key = (piece.prompt, piece.sample)
        texts[key] = texts.get(key, "") + piece.text
        if piece.finish:
            done[key] = Sample(
                piece.prompt, prompts[piece.prompt], piece.sample, texts.pop(key), piece.tokens, piece.finish
            )
        while wanted in done:
            yield done.pop(wanted)
            wanted = next(order, None)


def _best(
    network: nn.Module,
    head: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: Options,
    as_source: AsSource | None,
) -> Iterator[Sample]:
    """The texts that a beam search finds, as many prompts at once as their beams make up a batch."""
    allowed = options.constraint(tokenizer)
    ids, sources = _read(tokenizer, prompts, as_source)
    many = max(1, options.batch_size // options.num_beams)
    for start in range(0, len(ids), many):
        groups = beam_search(
            network,
            head,
            ids[start : start + many],
            end_id=tokenizer.end_id,
            max_new_tokens=options.max_new_tokens,
            num_beams=options.num_beams,
            num_return=options.num_samples,
            length_penalty=options.length_penalty,
            early_stopping=options.early_stopping,
            no_repeat_ngram=options.no_repeat_ngram,
            context=options.context,
            sources=sources and sources[start : start + many],
            allowed=allowed,
        )
        for place, hypotheses in enumerate(groups, start):
            for number, (tokens, score) in enumerate(hypotheses):
                text = _Text(tokenizer, ids[place], options)
                for token in tokens:
                    text.add(token)
                finish = text.finish(ended=len(tokens) < options.max_new_tokens)
                assert finish is not None
                yield Sample(place, prompts[place], number, text.take(), len(tokens), finish, score)


def _read(
    tokenizer: Tokenizer, prompts: Sequence[str], as_source: AsSource | None
) -> tuple[list[list[int]], list[list[int]] | None]:
    """What is gone on from for each prompt, and what an encoder reads."""
    ids = [encode(tokenizer, prompt) for prompt in prompts]
    return (ids, None) if as_source is None else ([[] for _ in ids], [as_source(one) for one in ids])


def texts(key: str, value: Any, *, one: bool = False) -> list[str]:
    """One text or several as a list. Raises UserError for what is neither."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, Sequence) or (one and found is value) or not all(isinstance(each, str) for each in found):
        raise UserError(f"{key}={written(value)}: set a text{'' if one else ' or a list of texts'}.")
    return list(found)


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
