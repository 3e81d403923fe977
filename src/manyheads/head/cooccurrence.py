"""The head of GloVe: how often two words stand near each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError, check_range
from manyheads.head.base import HeadOutput, Scores
from manyheads.head.word import OF_TEXTS, WordHead


@final
class Cooccurrence(WordHead):
    """Tells the logarithm of the count X of two words from the product of their vectors and a number for each: the loss is
    f(X) (w'u + a + b - log X)^2, f(X) = min(1, (X / x_max)^alpha) (Pennington et al. 2014, section 3, equations 8 and 9). It has
    no unit. Of a split of another size than train's, f takes the count as it is, which is what it can be trusted for, and the
    logarithm that in units of train.

    The vectors of use are the sums w + u (section 4.2 there). Second vectors start as the network's do, numbers at zero.

    Args:
        dim: D, the network's width.
        vocab_size: V.
        x_max: the count from which on all weigh alike (100 in the paper, for texts of billions of words).
        alpha: see f.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"co-occurrence"})
    refuses: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("skip-gram", "cbow"), "it learns from windows, which head=negative_sampling reads"),
        **OF_TEXTS,
    }
    reads: ClassVar[str] = "counts"

    def __init__(self, *, dim: int, vocab_size: int, x_max: float = 100.0, alpha: float = 0.75) -> None:
        super().__init__()
        if x_max <= 0:
            raise UserError(f"head.x_max={x_max}: set a number above 0.")
        check_range("head.alpha", alpha, 0)
        self.x_max = x_max
        self.alpha = alpha
        self.contexts = nn.Embedding(vocab_size, dim)
        self.bias = nn.Embedding(vocab_size, 1)
        self.context_bias = nn.Embedding(vocab_size, 1)
        nn.init.uniform_(self.contexts.weight, -0.5 / dim, 0.5 / dim)
        nn.init.zeros_(self.bias.weight)
        nn.init.zeros_(self.context_bias.weight)

    def vectors(self, embedding: Tensor) -> Tensor:
        """The network's plus the second ones."""
        return embedding + self.contexts.weight

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        return HeadOutput(self._losses(hidden, batch).sum(), self.learned(batch).sum())

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        """No pair is right or wrong: `correct` is False everywhere."""
        losses = self._losses(hidden, batch)
        return Scores(losses, torch.zeros_like(losses, dtype=torch.bool))

    def learned(self, batch: Batch) -> Tensor:
        """[B] bool, whether a pair has a count."""
        return batch["counts"][:, 0] > 0

    def blank(self, batch_size: int, seq_len: int) -> Tensor:
        """The count of a pair for each row."""
        return torch.zeros(batch_size, 2)

    def _losses(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B], 0 where there is no count; `hidden` is [B, 1, D]."""
        first, second = batch["input_ids"][:, 0], batch["input_ids"][:, 1]
        told = (hidden[:, 0] * self.contexts(second)).sum(-1)
        told = told + self.bias(first).squeeze(-1) + self.context_bias(second).squeeze(-1)
        told = told.to(torch.promote_types(told.dtype, torch.float32))
        there = self.learned(batch)
        counts, of_train = batch["counts"].to(told).masked_fill(~there[:, None], 1.0).unbind(1)
        losses = (counts / self.x_max).clamp(max=1.0) ** self.alpha * (told - of_train.log()) ** 2
        return losses.masked_fill(~there, 0.0)
