"""Masking: tokens of a row are hidden, and are what is learned of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from manyheads.batch import IGNORE, Batch
from manyheads.tokenizer.word_starts import WordStarts


class Vocabulary(NamedTuple):
    """What masking knows of the tokens."""

    mask_id: int  # what hides a token
    ordinary: NDArray[np.int64]  # [N] what may stand in its place
    special: NDArray[np.bool_]  # [V] what is never hidden


@final
class Masking:
    """Hides each token of a row with the probability `rate`, and makes it a label; nothing else is one.

    Of the hidden tokens a share `masked` become the mask token, a share `random` any ordinary token (with luck the same),
    and the others stay as they are (Devlin et al. 2019, section 3.1: 0.15, 0.8 and 0.1). With `words` whole words are
    hidden: all tokens of one, by one draw, and then each token becomes something by its own (README of
    github.com/google-research/bert, "Whole Word Masking").

    Each position of a row takes three numbers of the row's generator, so a row is masked the same however wide it is padded.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, rate: float, masked: float, random: float, words: WordStarts | None = None
    ) -> None:
        self.vocabulary = vocabulary
        self.rate = rate
        self.masked = masked
        self.random = random
        self.words = words

    def __call__(self, batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        """The batch with masked inputs and the labels of masking; `keys` are what each row's draws are made from."""
        ids = batch["input_ids"].numpy()  # [B, T]
        segments = batch["segments"].numpy() if "segments" in batch else None
        draws = np.stack([np.random.default_rng(key).random((ids.shape[1], 3)) for key in keys])
        chance, fate, which = np.moveaxis(draws, -1, 0)  # [B, T] each
        if self.words is not None:
            chance = _of_word(chance, self.words(ids, segments))
        hidden = (chance < self.rate) & ~self.vocabulary.special[ids]
        others = self.vocabulary.ordinary[(which * len(self.vocabulary.ordinary)).astype(np.int64)]
        shown = np.where(fate < self.masked, self.vocabulary.mask_id, others)
        shown = np.where(hidden & (fate < self.masked + self.random), shown, ids)
        made = Batch(**batch)
        made["input_ids"] = torch.from_numpy(shown)
        made["labels"] = torch.from_numpy(np.where(hidden, ids, IGNORE))
        made["num_tokens"] = torch.tensor(ids.size if segments is None else int((segments > 0).sum()))
        return made


@final
class AskedAlone:
    """Adds `pseudo_labels` for the examples `rows` to what `alter` makes of a batch: each token that is not special."""

    def __init__(
        self,
        alter: Callable[[Batch, Sequence[Sequence[int]]], Batch],
        special: NDArray[np.bool_],
        rows: Collection[int],
    ) -> None:
        self.alter = alter
        self.special = special
        self.rows = frozenset(rows)

    def __call__(self, batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        """`keys` end with the number of each row's example."""
        ids = batch["input_ids"].numpy()
        asked = np.array([key[-1] in self.rows for key in keys])[:, None] & ~self.special[ids]
        made = self.alter(batch, keys)
        made["pseudo_labels"] = torch.from_numpy(np.where(asked, ids, IGNORE))
        return made


def _of_word(chance: NDArray[np.float64], begins: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[B, T] at each token the number of the token that its word begins with."""
    first = np.maximum.accumulate(np.where(begins, np.arange(begins.shape[1]), 0), axis=1)
    return np.take_along_axis(chance, first, axis=1)
