"""What heads that score every token of the vocabulary have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.decoding.linear import linear
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head, HeadOutput, Scores
from manyheads.head.large_vocabulary import Sums, chunk_rows, chunked_loss

CPU_LOGITS = 2**20
"""How many logits are made at once on a CPU: 4 MB in float32."""


class TokenHead(Head):
    """The cross-entropy of labels that are tokens, in nats, from an output matrix and an optional bias.

    Args:
        dim: D, the network's width.
        vocab_size: V.
        weight: [V, D], the network's embedding when the two are tied (Press and Wolf 2017); None for a matrix of its own.
        bias: adds a learned bias per token.
        init_std: standard deviation of an own weight at the start.
        softcap: c of c tanh(logit / c); None for none.
        chunked: makes the logits of few positions at a time, and their gradients at once.
        table: gives the log probabilities [..., V] of a network's states in the place of an output matrix, of a network
            that has them itself.

    Raises:
        UserError: for numbers out of range, and options that a table leaves without use.
    """

    def __init__(
        self,
        *,
        dim: int,
        vocab_size: int,
        weight: nn.Parameter | None,
        bias: bool,
        init_std: float,
        softcap: float | None = None,
        chunked: bool = False,
        table: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        check_range("head.init_std", init_std, 0)
        if softcap is not None and softcap <= 0:
            raise UserError(f"head.softcap={softcap}: set a number above 0, or null.")
        assert weight is None or weight.shape == (vocab_size, dim)
        if table is not None:
            check_unused(bias=bias, softcap=softcap, chunked=chunked)
        self.vocab_size = vocab_size
        self.table = table
        self.tied = weight is not None
        if weight is None and table is None:
            weight = nn.Parameter(nn.init.normal_(torch.empty(vocab_size, dim), std=init_std))
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None
        self.softcap = softcap
        self.chunked = chunked

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log probabilities [..., V] of hidden states [..., D]."""
        if self.table is not None:
            return self.table(hidden)
        assert self.weight is not None
        logits = linear(hidden, self.weight, self.bias)
        if self.softcap is None:
            return logits
        return self.softcap * torch.tanh(wide(logits) / self.softcap)

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        return self.loss(hidden, labels_of(batch))

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        return self.each(hidden, labels_of(batch))

    def loss(self, hidden: Tensor, labels: Tensor) -> HeadOutput:
        """The plain loss of labels [...] from states [..., D]."""
        count = (labels != IGNORE).sum()
        if self.chunked and torch.is_grad_enabled():
            return HeadOutput(self.sums(hidden, labels).objective, count)
        sums = [_cross_entropy(wide(self.logits(part)), of, "sum") for part, of in self._parts(hidden, labels)]
        return HeadOutput(torch.stack(sums).sum(), count)

    def each(self, hidden: Tensor, labels: Tensor) -> Scores:
        """Each of the labels [...] by itself, from states [..., D]."""
        losses, correct = [], []
        for part, of in self._parts(hidden, labels):
            logits = wide(self.logits(part))
            losses.append(_cross_entropy(logits, of, "none"))
            correct.append(logits.argmax(-1) == of)
        return Scores(torch.cat(losses).view(labels.shape), torch.cat(correct).view(labels.shape))

    def sums(self, hidden: Tensor, labels: Tensor, **options: float) -> Sums:
        """What `chunked_loss` makes of them."""
        states = hidden.flatten(0, -2)
        assert self.weight is not None
        return chunked_loss(states, self.weight, self.bias, labels.flatten(), softcap=self.softcap, **options)

    def _parts(self, hidden: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The positions in parts, [N, D] and [N], whose logits are small enough on a CPU."""
        hidden, labels = hidden.flatten(0, -2), labels.flatten()
        # a CPU's allocator asks the system anew for each large block, which comes zeroed: in parts, a training step of a
        # small network takes 5 to 12 % less time
        size = max(1, CPU_LOGITS // self.vocab_size) if hidden.device.type == "cpu" else len(labels)
        if self.chunked:
            size = min(size, chunk_rows(self.vocab_size, hidden.device))
        return zip(hidden.split(size), labels.split(size), strict=True)


def check_unused(**options: object) -> None:
    """Raises UserError for an option of a head that is on, where the network gives probabilities itself."""
    for name, value in options.items():
        if value:
            raise UserError(
                f"head.{name}={value}: the network counts and gives probabilities itself, which nothing trains. Leave it out."
            )


def wide(logits: Tensor) -> Tensor:
    """Logits in float32, or in float64 where they are."""
    # half precision has 8 or 11 significant bits: too few for a sum over a vocabulary
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _cross_entropy(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction=reduction)


def labels_of(batch: Batch) -> Tensor:
    """The labels [B, T] that a batch which is scored has."""
    labels = batch.get("labels")
    assert labels is not None, "a batch that is scored has labels"
    return labels
