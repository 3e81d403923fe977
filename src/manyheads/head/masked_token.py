"""The head of masked language modelling: which token stood where one was masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.head.base import HeadOutput, Scores
from manyheads.head.token import TokenHead, labels_of


@final
class MaskedToken(TokenHead):
    """Scores every token of the vocabulary where there is a label, and makes no logits elsewhere; the loss is the
    cross-entropy, in nats (Devlin et al. 2019, section 3.1).

    Args:
        dim: D, the network's width.
        vocab_size: V.
        weight: [V, D], the network's embedding when the two are tied (Press and Wolf 2017); None for a matrix of its own.
        bias: adds a learned bias per token.
        transform: a layer of width D, GELU and a LayerNorm before the output matrix (`get_masked_lm_output` of
            run_pretraining.py, github.com/google-research/bert).
        init_std: standard deviation of own weights at the start (BERT's 0.02).
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"bidirectional"})
    refuses: ClassVar[Mapping[str, str]] = {
        "causal": "a hidden token is told from what stands before and behind it",
        "encoder-decoder": "what it reads is told anew there, which is task=denoising",
    }

    def __init__(
        self,
        *,
        dim: int,
        vocab_size: int,
        weight: nn.Parameter | None = None,
        bias: bool = True,
        transform: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(dim=dim, vocab_size=vocab_size, weight=weight, bias=bias, init_std=init_std)
        self.transform = (
            nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps=1e-12)) if transform else None
        )
        if self.transform is not None:
            dense = self.transform[0]
            assert isinstance(dense, nn.Linear)
            nn.init.normal_(dense.weight, std=init_std)
            nn.init.zeros_(dense.bias)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log probabilities [..., V] of hidden states [..., D]."""
        return super().logits(hidden if self.transform is None else self.transform(hidden))

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        labels = labels_of(batch)
        learned = labels != IGNORE
        return self.loss(hidden[learned], labels[learned])

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        labels = labels_of(batch)
        learned = labels != IGNORE
        found = self.each(hidden[learned], labels[learned])
        losses = torch.zeros(labels.shape, dtype=found.losses.dtype, device=labels.device)
        losses[learned], correct = found.losses, torch.zeros_like(learned)
        correct[learned] = found.correct
        return Scores(losses, correct)
