"""The language model's head: which token comes next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head, HeadOutput

CPU_LOGITS = 2**20
"""How many logits are made at once on a CPU: 4 MB in float32."""


class NextToken(Head):
    """Scores every token of the vocabulary at every position; the loss is the cross-entropy, in nats.

    Args:
        dim: D, the network's width.
        vocab_size: V.
        weight: [V, D], the network's embedding when the two are tied (Press and Wolf 2017); None for a matrix of its own.
        bias: adds a learned bias per token.
        init_std: standard deviation of an own weight at the start (GPT-2's 0.02: Radford et al. 2018, section 4.1).
        softcap: c of c tanh(logit / c) (30 in Gemma 2: Gemma Team 2024, section 2); None for none.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal"})

    def __init__(
        self,
        *,
        dim: int,
        vocab_size: int,
        weight: nn.Parameter | None = None,
        bias: bool = False,
        init_std: float = 0.02,
        softcap: float | None = None,
    ) -> None:
        super().__init__()
        check_range("head.init_std", init_std, 0)
        if softcap is not None and softcap <= 0:
            raise UserError(f"head.softcap={softcap}: set a number above 0, or null.")
        assert weight is None or weight.shape == (vocab_size, dim)
        self.tied = weight is not None
        self.weight = (
            nn.Parameter(nn.init.normal_(torch.empty(vocab_size, dim), std=init_std)) if weight is None else weight
        )
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None
        self.softcap = softcap

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log probabilities [..., V] of hidden states [..., D]."""
        logits = F.linear(hidden, self.weight, self.bias)
        if self.softcap is None:
            return logits
        return self.softcap * torch.tanh(_wide(logits) / self.softcap)

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        labels = _labels(batch)
        sums, correct = [], []
        for part, of in self._parts(hidden, labels):
            logits = _wide(self.logits(part))
            sums.append(_cross_entropy(logits, of, "sum"))
            if not self.training:
                correct.append((logits.argmax(-1) == of).sum())
        count = (labels != IGNORE).sum()
        return HeadOutput(torch.stack(sums).sum(), count, torch.stack(correct).sum() if correct else None)

    def losses(self, hidden: Tensor, batch: Batch) -> Tensor:
        labels = _labels(batch)
        parts = self._parts(hidden, labels)
        return torch.cat([_cross_entropy(_wide(self.logits(part)), of, "none") for part, of in parts]).view(
            labels.shape
        )

    def _parts(self, hidden: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The positions in parts, [N, D] and [N], whose logits are small enough on a CPU."""
        hidden, labels = hidden.flatten(0, -2), labels.flatten()
        # a CPU's allocator asks the system anew for each large block, which comes zeroed: in parts, a training step of a
        # small network takes 5 to 12 % less time
        size = max(1, CPU_LOGITS // len(self.weight)) if hidden.device.type == "cpu" else len(labels)
        return zip(hidden.split(size), labels.split(size), strict=True)


def _wide(logits: Tensor) -> Tensor:
    # half precision has 8 or 11 significant bits: too few for a sum over a vocabulary
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _cross_entropy(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction=reduction)


def _labels(batch: Batch) -> Tensor:
    labels = batch.get("labels")
    assert labels is not None, "a batch that is scored has labels"
    return labels
