"""Spans of a context: tokens with their characters, windows over a long context, and the likeliest span.

B  windows in a batch        T  tokens of a window, its question included
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import padded
from manyheads.head.span import CONTEXT, MATCH
from manyheads.tokenizer.base import Tokenizer

Span = tuple[int, int]
"""The first and the last token."""

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a token of bytes that are no whole character decodes to."""

NOWHERE: Span = (0, 0)
"""Where the span of an answer that a window does not have begins and ends: the first token stands for none (Devlin et
al. 2019, section 4.3)."""


class Tokens(NamedTuple):
    """A text as tokens, and the characters of the text that each of them is.

    Offsets count characters, whatever bytes a token has: the tokens that one character is split over all have its place.
    """

    ids: list[int]
    starts: NDArray[np.int64]  # of the first character
    ends: NDArray[np.int64]  # after the last

    def span(self, start: int, end: int) -> Span | None:
        """The tokens that hold the characters from `start` to before `end`; None where none does, as of white space
        that the tokenizer drops."""
        first = int(np.searchsorted(self.ends, start, side="right"))
        last = int(np.searchsorted(self.starts, end, side="left")) - 1
        return (first, last) if first <= last else None


def tokens_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tokens]:
    """The tokens of several texts; a text that comes again is encoded once."""
    different = list(dict.fromkeys(texts))
    encoded = tokenizer.backend.encode_batch(different, add_special_tokens=False)
    places = [np.array(one.offsets, np.int64).reshape(-1, 2) for one in encoded]
    found = {
        text: Tokens(one.ids, place[:, 0], place[:, 1])
        for text, one, place in zip(different, encoded, places, strict=True)
    }
    return [found[text] for text in texts]


def folded(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """[V] a number for each token, the same for those of one text but for case and white space around."""
    texts = tokenizer.decode_batch([[token] for token in range(tokenizer.vocab_size)])
    parts = (f"{text} {token}" if UNFINISHED in text else text.strip().lower() for token, text in enumerate(texts))
    return np.unique(np.array(list(parts)), return_inverse=True)[1]


def located(context: str, text: str, start: int) -> int | None:
    """Where a text stands in a context: at `start`, or else at the nearest other place; None where it is not in it."""
    if context.startswith(text, start):
        return start
    before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start), default=None)


def windows(length: int, room: int, stride: int) -> list[range]:
    """Which tokens of a context of so many each window has: `room` at most, each window `stride` after the one before.

    Nothing is left out: where there is room for less than `stride`, windows follow each other. There is always one. Source:
    run_squad.py of google-research/bert, convert_examples_to_features (its `doc_stride`).
    """
    step = min(stride, room)
    count = 1 + max(0, -(-(length - room) // step))
    return [range(at * step, min(at * step + room, length)) for at in range(count)]


def in_window(span: Span | None, window: range, shift: int) -> Span:
    """A span of the context as positions of a window whose context begins at position `shift`; NOWHERE unless the window
    has all of it."""
    if span is None or span[0] < window.start or span[1] >= window.stop:
        return NOWHERE
    return span[0] - window.start + shift, span[1] - window.start + shift


class Best(NamedTuple):
    """The span of each window that has the highest sum of the logits of its start and its end."""

    scores: Tensor  # [B], -inf in a window without a span
    firsts: Tensor  # [B] int64
    lasts: Tensor  # [B] int64


def best_spans(starts: Tensor, ends: Tensor, inside: Tensor, longest: int) -> Best:
    """The best span of each window, of at most `longest` tokens, all of them `inside`; logits and `inside` are [B, T].

    Every span is looked at, by its length; of two that are as good it is the shorter one. Source of the score: Devlin et
    al. 2019, section 4.2.
    """
    never = float("-inf")
    starts, ends = starts.masked_fill(~inside, never), ends.masked_fill(~inside, never)
    width = starts.shape[1]
    scores = starts.new_full((len(starts),), never)
    firsts = torch.zeros(len(starts), dtype=torch.int64, device=starts.device)
    lasts = torch.zeros_like(firsts)
    for more in range(min(longest, width)):
        found, at = (starts[:, : width - more] + ends[:, more:]).max(-1)
        better = found > scores
        scores = torch.where(better, found, scores)
        firsts, lasts = torch.where(better, at, firsts), torch.where(better, at + more, lasts)
    return Best(scores, firsts, lasts)


def batch_of(
    columns: dict[str, list[NDArray[np.int32]]], *, end_id: int, folds: NDArray[np.int64] | None = None
) -> Batch:
    """Windows and their spans to a batch; with `folds`, tokens of a context are of type MATCH where the question has one
    of the same number."""
    tokens, parts = columns["tokens"], columns["starts"]
    ids, segments = padded(tokens, end_id)
    types = torch.zeros_like(ids)
    for row, (one, part) in enumerate(zip(tokens, parts, strict=True)):
        shift = len(one) - len(part)
        types[row, shift : len(one)] = CONTEXT
        if folds is not None:
            shared = np.isin(folds[one[shift:]], folds[one[:shift]])
            types[row, shift : len(one)] += torch.from_numpy(shared) * (MATCH - CONTEXT)
    spans = columns.get("span")
    batch = Batch(
        input_ids=ids,
        token_types=types,
        num_tokens=torch.tensor(sum(map(len, tokens))),
        spans=torch.full((len(ids), 2), IGNORE)
        if spans is None
        else torch.from_numpy(np.stack(spans).astype(np.int64)),
    )
    if segments is not None:
        batch["segments"] = segments
    return batch
