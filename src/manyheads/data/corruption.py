"""Ways to corrupt a text so that a network learns to mend it: spans of T5 and of BART, and BART's order of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


class Span(NamedTuple):
    """Some tokens of a text that follow on each other."""

    start: int
    length: int


def most_noise(length: int, rate: float) -> int:
    """How many tokens `noise_spans` drops of a text of `length` tokens, 2 at least."""
    return min(max(round(length * rate), 1), length - 1)


def most_spans(length: int, rate: float, mean_span: float) -> int:
    """How many spans `noise_spans` makes of a text of `length` tokens."""
    noise = most_noise(length, rate)
    return min(max(round(noise / mean_span), 1), noise, length - noise)


def noise_spans(length: int, rate: float, mean_span: float, random: np.random.Generator) -> list[Span]:
    """The spans of a text of `length` tokens that are dropped: `rate` of it, in spans of `mean_span` on average.

    The tokens that are dropped are cut at random into parts, and so are those that stay, of which one at least is between any
    two spans. A text of fewer than two tokens has no span.

    Source: T5 (Raffel et al. 2020, section 3.1.4), with the numbers of `random_spans_noise_mask` of
    t5/data/preprocessors.py, github.com/google-research/text-to-text-transfer-transformer. That one always keeps the first
    token and drops the last one, and so of a text with one span nothing but its end; here a span can be anywhere.
    """
    if length < 2:
        return []
    noise = most_noise(length, rate)
    count = most_spans(length, rate, mean_span)
    dropped = _parts(noise, count, random)
    kept = _parts(length - noise + 2, count + 1, random)[
        :count
    ]  # before each span; the ends of the text may be dropped
    starts = np.cumsum(kept) - 1 + np.cumsum(dropped) - dropped
    return [Span(start, size) for start, size in zip(starts.tolist(), dropped.tolist(), strict=True)]


def with_sentinels(tokens: Tokens, spans: Sequence[Span], sentinels: Sequence[int]) -> tuple[Tokens, Tokens]:
    """(the text with a sentinel for each span, each sentinel with its span behind it and one more sentinel at the end).

    Source: Raffel et al. 2020, figure 2.
    """
    source, target = [], []
    place = 0
    for sentinel, (start, length) in zip(sentinels, spans, strict=False):
        source += [tokens[place:start], [sentinel]]
        place = start + length
        target += [[sentinel], tokens[start:place]]
    source.append(tokens[place:])
    target.append([sentinels[len(spans)]])
    return np.concatenate(source).astype(np.int64), np.concatenate(target).astype(np.int64)


def infilling_spans(length: int, rate: float, mean_span: float, random: np.random.Generator) -> list[Span]:
    """The spans of a text that BART hides: lengths of Poisson(`mean_span`), some of them 0, until they are `rate` of the text
    together (the last one is cut), in random places.

    Source: text infilling, Lewis et al. 2020, section 2.2; the places are drawn as if each span were one token.
    """
    left, lengths = round(length * rate), []
    while left > 0:
        size = min(int(random.poisson(mean_span)), left)
        lengths.append(size)
        left -= size
    kept = length - sum(lengths)
    # each span stands behind some of the tokens that stay
    before = np.sort(random.choice(kept + len(lengths), len(lengths), replace=False)) - np.arange(len(lengths))
    starts = before + np.cumsum([0, *lengths[:-1]]) if lengths else []
    return [Span(int(start), size) for start, size in zip(starts, lengths, strict=True)]


def with_masks(tokens: Tokens, spans: Sequence[Span], mask_id: int) -> Tokens:
    """The text with one mask token in the place of each span."""
    source, place = [], 0
    for start, length in spans:
        source += [tokens[place:start], [mask_id]]
        place = start + length
    return np.concatenate([*source, tokens[place:]]).astype(np.int64)


def shuffled_sentences(tokens: Tokens, ends: NDArray[np.bool_], random: np.random.Generator) -> Tokens:
    """The sentences of a text in random order; `ends` [T] says which tokens are the last of one.

    Source: sentence permutation, Lewis et al. 2020, section 2.2.
    """
    parts = [part for part in np.split(tokens, np.flatnonzero(ends) + 1) if len(part)]
    return np.concatenate([parts[place] for place in random.permutation(len(parts))]) if parts else tokens


def _parts(total: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """[count] sizes of at least 1 that make up `total`, each way to do it equally likely."""
    cuts = np.sort(random.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))
