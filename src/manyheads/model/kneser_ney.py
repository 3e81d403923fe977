"""Interpolated modified Kneser-Ney: from counts of n-grams to the probabilities of what comes next."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manyheads.model.gram_counts import Keys, Packing, added_up, is_new

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where there is too little text to estimate them (`--discount_fallback` of KenLM's lmplz)."""

Counts = NDArray[np.int64]


class Grams(NamedTuple):
    """The n-grams of one length, in order, each once."""

    columns: list[Counts]  # for each place [N], a token + 1
    counts: Counts  # [N] adjusted: raw of the longest and of those that begin a text, else different tokens before it


class Level(NamedTuple):
    """What is known after contexts of one length."""

    weight: Tensor  # [contexts] float64, of the distribution after the context that is one shorter
    start: Tensor  # [contexts + 1] int64, where the tokens that have been seen after each begin
    token: Tensor  # [n-grams] int64
    probability: Tensor  # [n-grams] float64, the discounted share


class KneserNey:
    """P(token | the tokens before it) = discounted share after the context + its weight * P(token | one token less).

    The share of a token counted c times is (c - D(c)) / total, with D(1), D(2) and D(3 or more) for each length, and the
    weight makes up for what was taken (Chen and Goodman 1999, section 3, equations 26 and 27, and "An Empirical Study of
    Smoothing Techniques", 1998, section 4.1.6, for the discounts). Below the single tokens stands 1 / V. Shorter n-grams
    count by how many different tokens they were seen after; those that begin a text, which nothing stands before, by how
    often they were seen (Heafield et al. 2013, section 3.2).

    Args:
        order: n, the longest n-grams.
        vocab_size: V.
        keys: [N, words] n-grams packed to the right: places before the beginning of a text are 0.
        counts: [N] how often each was seen.
        device: where what is known is kept.
    """

    def __init__(self, order: int, vocab_size: int, keys: Keys, counts: Counts, device: torch.device) -> None:
        self.vocab_size = vocab_size
        self.device = device
        by_length = _by_length(order, vocab_size, keys, counts)
        self.discounts = [discounts(grams.counts) for grams in by_length]
        self.children = [self._tensor(known) for known in _contexts(by_length, vocab_size)]
        self.levels = [
            self._level(length, grams, by)
            for length, (grams, by) in enumerate(zip(by_length, self.discounts, strict=True))
        ]

    @property
    def num_parameters(self) -> int:
        """Numbers that probabilities are made of: one for each n-gram, and one for each context."""
        return sum(len(level.probability) + len(level.weight) for level in self.levels)

    def contexts(self, ids: Tensor) -> Tensor:
        """[B, T, order - 1] int64: which known context of 1, 2, ... tokens ends at each place of ids [B, T]; -1: none."""
        found: list[Tensor] = []
        for length, known in enumerate(self.children):
            if not length:
                parent = torch.zeros_like(ids)
            else:
                parent = torch.nn.functional.pad(found[-1], (1, 0), value=-1)[:, :-1]
            found.append(self._find(known, parent, ids))
        return torch.stack(found, -1) if found else ids.new_zeros(*ids.shape, 0)

    def log_probabilities(self, contexts: Tensor) -> Tensor:
        """[..., V] float32, the logarithms, in nats, after contexts [..., order - 1]."""
        rows = contexts.reshape(math.prod(contexts.shape[:-1]), contexts.shape[-1])
        shares = torch.full((len(rows), self.vocab_size), 1 / self.vocab_size, dtype=torch.float64, device=self.device)
        self._interpolate(shares, self.levels[0], torch.zeros(len(rows), dtype=torch.int64, device=self.device))
        for level, context in zip(self.levels[1:], rows.unbind(-1), strict=True):
            self._interpolate(shares, level, context)
        return shares.log_().float().view(*contexts.shape[:-1], self.vocab_size)

    def _interpolate(self, shares: Tensor, level: Level, context: Tensor) -> None:
        """Puts what is known after contexts [N] over the shares [N, V] of shorter ones, in place."""
        known = context >= 0
        context = context.clamp(min=0)
        if not len(level.weight):
            return
        shares *= torch.where(known, level.weight[context], 1.0)[:, None]
        begin = level.start[context]
        length = torch.where(known, level.start[context + 1] - begin, 0)
        row = torch.repeat_interleave(torch.arange(len(context), device=self.device), length)
        before = length.cumsum(0) - length
        place = torch.arange(len(row), device=self.device) + (begin - before)[row]
        shares.view(-1).index_add_(0, row * self.vocab_size + level.token[place], level.probability[place])

    def _find(self, known: Tensor, parent: Tensor, ids: Tensor) -> Tensor:
        """The numbers of contexts, by those that are one token shorter and their last tokens; -1 where there is none."""
        if not len(known):
            return torch.full_like(ids, -1)
        key = parent * self.vocab_size + ids
        place = torch.searchsorted(known, key).clamp(max=len(known) - 1)
        return torch.where((known[place] == key) & (parent >= 0), place, -1)

    def _level(self, length: int, grams: Grams, by: tuple[float, float, float]) -> Level:
        """What is known after contexts of `length` tokens."""
        tokens = [self._tensor(column - 1) for column in grams.columns]
        if length:
            context = self.contexts_of(tokens[:-1])
            size = len(self.children[length - 1])
        else:
            context, size = torch.zeros_like(tokens[-1]), 1
        counts = self._tensor(grams.counts)
        taken = torch.tensor([0.0, *by], dtype=torch.float64, device=self.device)[counts.clamp(max=3)]
        total = torch.zeros(size, dtype=torch.float64, device=self.device).index_add_(0, context, counts.double())
        weight = torch.zeros_like(total).index_add_(0, context, taken)
        return Level(
            weight=torch.where(total > 0, weight / total.clamp(min=1), 1.0),
            start=torch.searchsorted(context, torch.arange(size + 1, device=self.device)),
            token=tokens[-1],
            probability=(counts - taken) / total[context],
        )

    def contexts_of(self, tokens: list[Tensor]) -> Tensor:
        """[N] the numbers of contexts that are given by their tokens, [N] for each place; all must be known."""
        found = torch.zeros_like(tokens[0])
        for known, token in zip(self.children, tokens, strict=False):
            found = self._find(known, found, token)
        return found

    def _tensor(self, values: Counts) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def discounts(counts: Counts) -> tuple[float, float, float]:
    """What is taken from counts of 1, 2, and 3 or more: k - (k + 1) Y n(k+1) / n(k), Y = n(1) / (n(1) + 2 n(2)), n(k) being
    how many n-grams have the count k (Chen and Goodman 1998, equation 17 and section 4.1.6)."""
    n = np.bincount(np.minimum(counts, 5), minlength=5)[:5].astype(float)
    if not n[1:].all():
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    one, two, three = (k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    return (one, two, three) if 0 <= one <= 1 and 0 <= two <= 2 and 0 <= three <= 3 else FALLBACK


def _by_length(order: int, vocab_size: int, keys: Keys, counts: Counts) -> list[Grams]:
    """The n-grams of 1, 2, ... `order` tokens with their adjusted counts."""
    columns = Packing(order, vocab_size).unpack(keys)
    # those of a text's beginning are shorter
    starts = [(columns[i] > 0) & ((columns[i - 1] == 0) if i else True) for i in range(order)]
    found = [Grams([column[starts[0]] for column in columns], counts[starts[0]])]
    for length in range(order - 1, 0, -1):
        longer, first = found[-1], order - length
        packing, begins = Packing(length, vocab_size), starts[first]
        together = [
            np.concatenate((inner, outer[begins]))
            for inner, outer in zip(longer.columns[1:], columns[first:], strict=True)
        ]
        summed = np.concatenate((np.ones(len(longer.counts), np.int64), counts[begins]))
        packed, adjusted = added_up(packing.pack(together), summed)
        found.append(Grams(packing.unpack(packed), adjusted))
    return found[::-1]


def _contexts(by_length: list[Grams], vocab_size: int) -> list[Counts]:
    """The contexts of 1, 2, ... tokens that some n-gram has, and their beginnings: each as the number of the one that is a
    token shorter, times V, and its last token, in order. A context's number is its place."""
    most = len(by_length) - 1
    packing = Packing(most, vocab_size)
    parts = []
    for grams in by_length[1:]:
        columns = grams.columns[:-1]
        missing = [np.zeros(len(grams.counts), np.int64)] * (most - len(columns))
        keys = packing.pack([*columns, *missing])
        parts.append(keys[is_new(keys)])
    if not parts:
        return []
    # a beginning sorts before what goes on from it
    whole, _ = added_up(np.concatenate(parts), np.ones(sum(map(len, parts)), np.int64))
    found, number = [], np.zeros(len(whole), np.int64)
    other = np.zeros(len(whole), bool)
    other[:1] = True
    for column in packing.unpack(whole):
        other[1:] |= column[1:] != column[:-1]
        new = other & (column > 0)
        found.append((number * vocab_size + column - 1)[new])
        number = np.cumsum(new) - 1
    return found
