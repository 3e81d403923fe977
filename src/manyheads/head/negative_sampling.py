"""The head of word2vec: which word stands there, among words that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.head.base import HeadOutput, Scores
from manyheads.head.word import OF_TEXTS, WordHead


@final
class NegativeSampling(WordHead):
    """Tells the word that is there from words that are drawn: the loss is -log s(u'h) - sum of log s(-u_n'h), in nats, s the
    logistic function, h what the network makes of the other words, u the second vector of the word and u_n those of the drawn
    ones (Mikolov et al. 2013b, section 2.2, equation 4).

    Second vectors start at zero, as in word2vec.c. A word counts as told when its score is above those of all drawn ones.

    Args:
        dim: D, the network's width.
        vocab_size: V.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"skip-gram", "cbow"})
    refuses: ClassVar[Mapping[str, str]] = {
        "co-occurrence": "it learns from counts, which head=cooccurrence reads",
        **OF_TEXTS,
    }
    reads: ClassVar[str] = "candidates"

    def __init__(self, *, dim: int, vocab_size: int) -> None:
        super().__init__()
        self.contexts = nn.Embedding(vocab_size, dim)
        nn.init.zeros_(self.contexts.weight)

    def vectors(self, embedding: Tensor) -> Tensor:
        """Those of the network alone, as in word2vec.c."""
        return embedding

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        losses, _ = self._each(hidden, batch)
        return HeadOutput(losses.sum(), self.learned(batch).sum())

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        losses, logits = self._each(hidden, batch)
        shown = logits.masked_fill(batch["candidates"] == IGNORE, -torch.inf)
        return Scores(losses, (shown[:, :1] > shown[:, 1:]).all(-1, keepdim=True) & self.learned(batch))

    def learned(self, batch: Batch) -> Tensor:
        """[B, 1] bool, whether there is a word to be told."""
        return batch["candidates"][:, :1] != IGNORE

    def blank(self, batch_size: int, seq_len: int) -> Tensor:
        """A word for each row, and none beside it."""
        return torch.zeros(batch_size, 1, dtype=torch.int64)

    def _each(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of each row [B, 1], 0 where there is no word, and the logits of its candidates [B, 1 + N]; `hidden` is
        [B, 1, D]."""
        candidates = batch["candidates"]
        there = candidates != IGNORE
        logits = (hidden @ self.contexts(candidates.clamp(min=0)).transpose(1, 2)).squeeze(1)  # [B, 1 + N]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        against = torch.cat([-logits[:, :1], logits[:, 1:]], 1)
        losses = F.softplus(against).masked_fill(~(there & there[:, :1]), 0.0)
        return losses.sum(-1, keepdim=True), logits
