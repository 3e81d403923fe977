"""The head of extractive question answering: where in a row the answer starts and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.errors import check_range
from manyheads.head.base import Head, HeadOutput, Scores

CONTEXT = 1
"""The token type of the text that answers are spans of."""

MATCH = 2
"""The token type of its tokens that the question has too, where a task tells them apart."""


@final
class Span(Head):
    """Scores each position as the start and as the end of the answer; the loss is the mean of the two cross-entropies.

    Answers are in the text of token types 1 and 2, and position 0, before both texts, stands for no answer; no other position is
    scored. Source: Devlin et al. 2019, sections 4.2 and 4.3. The first position of a network that reads from left to right
    sees no text, so there the score of no answer is the same in all rows.

    Args:
        dim: D, the network's width.
        dropout: on the states.
        init_std: standard deviation of the weights at the start (BERT's 0.02).
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "bidirectional"})
    refuses: ClassVar[Mapping[str, str]] = {
        "encoder-decoder": "one text leaves its encoder or its decoder nothing to read",
        "counting": "what was counted are tokens, and no states come of it",
    }
    reads: ClassVar[str] = "spans"

    def __init__(self, *, dim: int, dropout: float = 0.0, init_std: float = 0.02) -> None:
        super().__init__()
        check_range("head.dropout", dropout, 0, 1)
        check_range("head.init_std", init_std, 0)
        self.dropout = dropout
        self.output = nn.Linear(dim, 2)
        nn.init.normal_(self.output.weight, std=init_std)
        nn.init.zeros_(self.output.bias)

    def span_logits(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Unnormalised log probabilities of the start and of the end, both [B, T], float32 at least; -inf where no answer
        can be."""
        logits = self.output(F.dropout(hidden, self.dropout, self.training))  # [B, T, 2]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        outside = ~inside(batch)
        outside[:, 0] = False
        start, end = logits.masked_fill(outside[..., None], float("-inf")).unbind(-1)
        return start, end

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        return HeadOutput(self._losses(*self.span_logits(hidden, batch), batch).sum(), self.learned(batch).sum())

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        """[B]; right is a row whose start and end both are."""
        start, end = self.span_logits(hidden, batch)
        right = torch.stack([start.argmax(-1), end.argmax(-1)], -1) == batch["spans"]
        return Scores(self._losses(start, end, batch), right.all(-1) & self.learned(batch))

    def learned(self, batch: Batch) -> Tensor:
        """Which rows have a span, [B] bool."""
        return (batch["spans"] != IGNORE).all(-1)

    def _losses(self, start: Tensor, end: Tensor, batch: Batch) -> Tensor:
        """[B], 0 where there is no span."""
        wanted = batch["spans"]
        return sum(
            F.cross_entropy(logits, wanted[:, side], ignore_index=IGNORE, reduction="none") / 2
            for side, logits in enumerate((start, end))
        )  # type: ignore[return-value]


def inside(batch: Batch) -> Tensor:
    """Where the text is that answers are spans of, [B, T] bool; everywhere in rows that have no token types."""
    types = batch.get("token_types")
    found = torch.ones_like(batch["input_ids"], dtype=torch.bool) if types is None else types >= CONTEXT
    segments = batch.get("segments")
    return found if segments is None else found & (segments > 0)
