"""Windows: the words around each word of a row, and words that are not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from manyheads.batch import IGNORE, Batch


class Around(NamedTuple):
    """n words that were kept, and what stands in their windows."""

    words: NDArray[np.int64]  # [n]
    rows: NDArray[np.int64]  # [n] the row of the batch that each is of
    near: NDArray[np.int64]  # [n, 2 c] the words before and behind each, from the left
    inside: NDArray[np.bool_]  # [n, 2 c] which of them are in its window


class Told(NamedTuple):
    """N words that are told, each from some others."""

    read: NDArray[np.int64]  # [N, W] what is read
    there: NDArray[np.bool_] | None  # [N, W] which of them count; None: all
    words: NDArray[np.int64]  # [N] what is to be told
    rows: NDArray[np.int64]  # [N] the row of the batch that each is of


def skip_gram(around: Around) -> Told:
    """Each word of a window is told from the word in its middle (Mikolov et al. 2013a, section 3.2)."""
    middle, place = around.inside.nonzero()
    return Told(around.words[middle][:, None], None, around.near[middle, place], around.rows[middle])


def cbow(around: Around) -> Told:
    """The word in the middle is told from all of its window; one whose window is empty is left out (Mikolov et al. 2013a,
    section 3.1)."""
    some = around.inside.any(1)
    there = around.inside[some]
    return Told(np.where(there, around.near[some], 0), there, around.words[some], around.rows[some])


FORMS: Mapping[str, Callable[[Around], Told]] = {"skip-gram": skip_gram, "cbow": cbow}
"""By the kind of the network."""


def keep_probabilities(counts: NDArray[np.int64], threshold: float) -> NDArray[np.float64]:
    """[V] how likely a word is kept: min(1, sqrt(t / f)) of one whose share of all counted words is f (Mikolov et al. 2013b,
    section 2.3, equation 5); 0 of one that is not there. With t = 0 all are kept."""
    share = counts / max(1, counts.sum())
    with np.errstate(divide="ignore"):
        kept = np.minimum(1.0, np.sqrt(threshold / share)) if threshold else np.ones(len(counts))
    return np.where(counts > 0, kept, 0.0)


def cumulated(counts: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """[V] the distribution function of negatives: each word by count^power (Mikolov et al. 2013b, section 2.2: 3/4)."""
    weights = np.where(counts > 0, counts.astype(np.float64), 0.0)
    sums = np.where(weights > 0, weights**power, 0.0).cumsum()
    return sums / sums[-1]


@final
class Windows:
    """Makes of rows of text the words to tell, what each is told from, and negatives: an `Alter` (see `AlteredRows`).

    Words that count for nothing (special tokens, the unknown one, and those that are drawn to be left out) are taken away
    first, so that a window reaches over them, as in word2vec.c. Each word draws how far its window goes, from 1 to `window`
    words on either side, all alike (Mikolov et al. 2013a, section 3.2), but not beyond its text. Each word to tell draws
    `negatives` others; one that is the word itself is left out (IGNORE), as in word2vec.c.

    Each token of a row takes two numbers of the row's generator and then each negative one, so a row becomes the same however
    wide it is padded.

    Args:
        form: what is told from what.
        counts: [V] how often each word is in the training texts; 0 of what is no word.
        window: c.
        threshold: t of `keep_probabilities`.
        negatives: of each word to tell.
        power: see `cumulated`.
    """

    def __init__(
        self,
        form: Callable[[Around], Told],
        counts: NDArray[np.int64],
        *,
        window: int,
        threshold: float,
        negatives: int,
        power: float,
    ) -> None:
        self.form = form
        self.window = window
        self.negatives = negatives
        self._keep = keep_probabilities(counts, threshold)
        self._cumulated = cumulated(counts, power)

    def __call__(self, batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        """Batch of N words to tell; `examples` [N] are the rows that they are of, `num_tokens` all tokens of the rows."""
        draws = [np.random.default_rng(key) for key in keys]
        ids = batch["input_ids"].numpy()  # [B, T]
        segments = batch["segments"].numpy() if "segments" in batch else np.ones_like(ids)
        told = self.form(self._around(ids, segments, draws))
        each = np.bincount(told.rows, minlength=len(ids))
        chance = np.concatenate([draw.random((n, self.negatives)) for draw, n in zip(draws, each, strict=True)])
        others = np.searchsorted(self._cumulated, chance, side="right")
        others[others == told.words[:, None]] = IGNORE
        made = Batch(
            input_ids=torch.from_numpy(told.read),
            candidates=torch.from_numpy(np.concatenate([told.words[:, None], others], axis=1)),
            examples=torch.from_numpy(told.rows),
            num_tokens=torch.tensor(int((segments > 0).sum())),
        )
        if told.there is not None:
            made["segments"] = torch.from_numpy(told.there.astype(np.int64))
        return made

    def _around(
        self, ids: NDArray[np.int64], segments: NDArray[np.int64], draws: Sequence[np.random.Generator]
    ) -> Around:
        inside = segments > 0  # padding stands at the ends of rows
        lengths = inside.sum(1)
        chance, reach = np.concatenate(
            [draw.random((length, 2)) for draw, length in zip(draws, lengths.tolist(), strict=True)]
        ).T
        words, rows = ids[inside], np.repeat(np.arange(len(ids)), lengths)
        kept = chance < self._keep[words]
        words, rows, texts = words[kept], rows[kept], segments[inside][kept]
        texts = texts + rows * (1 + segments.max(initial=0))
        offsets = np.concatenate([np.arange(-self.window, 0), np.arange(1, self.window + 1)])
        near, same = (self._beside(values) for values in (words, texts))
        reaches = 1 + (reach[kept] * self.window).astype(np.int64)  # [n] 1..c
        return Around(words, rows, near, (same == texts[:, None]) & (np.abs(offsets) <= reaches[:, None]))

    def _beside(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] -> [n, 2 c] the values before and behind each; -1 outside."""
        c = self.window
        around = sliding_window_view(np.pad(values, (c, c + 1), constant_values=-1), 2 * c + 1)[: len(values)]
        return np.concatenate([around[:, :c], around[:, c + 1 :]], axis=1)
