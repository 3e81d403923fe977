"""Pairs of texts of which the second follows on the first, or is from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from manyheads.batch import IGNORE, Batch
from manyheads.data.altered import Alter
from manyheads.data.examples import padded
from manyheads.data.packing import Segments
from manyheads.data.store import TokenStore
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.pieces import first_and_later

FOLLOWS, ELSEWHERE = 0, 1
"""The classes, as BERT numbers them (`is_random_next`)."""

MARKS = 2
"""End tokens in a pair: before each of its texts."""

_DRAWS = 0x6E73
"""Part of the key of a pair's draws, which are others than those of its masks."""

_SENTENCE_ENDS = (b".", b"!", b"?", "。".encode(), "！".encode(), "？".encode())


def sentence_ends(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """[V] whether a token is the last of a sentence or of a paragraph: its text ends with a full stop, an exclamation or a
    question mark, or holds the end of a line."""
    pieces = first_and_later(tokenizer)[1]
    return np.array([piece.rstrip().endswith(_SENTENCE_ENDS) or b"\n" in piece for piece in pieces])


class Sentences(NamedTuple):
    """What pairs are made of."""

    store: TokenStore
    ends: NDArray[np.bool_]  # [V]
    end_id: int

    def borders(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where a sentence begins behind another one: places within some tokens of a text."""
        return np.flatnonzero(self.ends[tokens[:-1]]) + 1

    def text(self, document: int) -> NDArray[np.int64]:
        """The tokens of a text, without those that stand between texts."""
        start, end = self.store.document_starts[document : document + 2]
        return self._tokens(start + 1, end)

    def has_pairs(self, segments: Segments) -> bool:
        """Whether a piece of a text has a border, and there is another text."""
        pieces = zip(segments.start.tolist(), segments.length.tolist(), strict=True)
        parted = any(len(self.borders(self._tokens(start, start + length))) for start, length in pieces)
        return parted and self.store.num_documents > 1

    def _tokens(self, start: int, end: int) -> NDArray[np.int64]:
        found = self.store.tokens.take(np.arange(start, end)).astype(np.int64)
        return found[found != self.end_id]


@final
class Pairs:
    """Makes pairs of a batch of plain rows, each one piece of a text, and alters them.

    A piece is parted at the border of two of its sentences, each border equally likely. Every second one, by chance, gets
    another second half: what begins with a sentence of another text, both equally likely, in as many tokens as there is
    room for (`create_instances_from_document` of create_pretraining_data.py, github.com/google-research/bert, which also
    gives what a random text has replaced to the next pair). A row is the end token, the first text, the end token and the second text.
    A piece without a border stays alone, and nothing is learned of what follows it; so does that of the only text of a split.

    Args:
        alter: what becomes of pairs, such as masking.
        sentences: those of the split.
        documents: which text each row is a piece of, by the last number of its key.
        room: tokens of a pair besides the end tokens, at most.
    """

    def __init__(self, alter: Alter, sentences: Sentences, documents: NDArray[np.int64], *, room: int) -> None:
        self.alter = alter
        self.sentences = sentences
        self.documents = documents
        self.room = room

    def __call__(self, batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        """`keys` are what each row's draws are made from."""
        end = np.array([self.sentences.end_id])
        inputs = (row[row != end] for row in batch["input_ids"].numpy())
        texts, classes = zip(*(self._pair(row, key) for row, key in zip(inputs, keys, strict=True)), strict=True)
        ids, segments = padded(
            [np.concatenate([part for text in pair for part in (end, text)]) for pair in texts], end[0]
        )
        types = torch.zeros_like(ids)
        for row, pair in zip(types, texts, strict=True):
            for second in pair[1:]:
                first = len(pair[0]) + MARKS
                row[first : first + len(second)] = 1
        made = Batch(input_ids=ids, token_types=types, classes=torch.tensor(classes))
        if segments is not None:
            made["segments"] = segments
        return self.alter(made, keys)

    def _pair(self, tokens: NDArray[np.int64], key: Sequence[int]) -> tuple[list[NDArray[np.int64]], int]:
        """(the two texts, the class), or (the one, IGNORE)."""
        borders = self.sentences.borders(tokens)
        if not len(borders) or self.sentences.store.num_documents < 2:
            return [tokens], IGNORE
        random = np.random.default_rng((*key, _DRAWS))
        border = random.choice(borders)
        if random.random() < 0.5:
            return [tokens[:border], tokens[border:]], FOLLOWS
        return [tokens[:border], self._elsewhere(self.documents[key[-1]], self.room - border, random)], ELSEWHERE

    def _elsewhere(self, document: int, room: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Sentences of another text."""
        other = int(random.integers(self.sentences.store.num_documents - 1))
        text = self.sentences.text(other + (other >= document))
        start = random.choice([0, *self.sentences.borders(text)])
        return text[start : start + room]
