"""The head of masked language modelling: which token stood where one was masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.errors import check_range
from manyheads.head.base import HeadOutput, Objective, Scores
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
        norm_eps: what that LayerNorm adds under the root (1e-12 in BERT, 1e-5 in RoBERTa).
        init_std: standard deviation of own weights at the start (BERT's 0.02).
        pair_weight: what the loss of a pair weighs beside that of one hidden token, in training, where it is also told from a
            row's first state, through a layer of width D with tanh, whether the second of its two texts follows on the first
            (`get_next_sentence_output` there); 0: it is not. The task sets it. With as many hidden tokens as a pair has, it is
            BERT's sum of the two means; as a constant it makes each batch's total a plain sum, the same over any micro-batches
            and ranks. Logged, without the weight, as `train/next_sentence_loss`.

    Validation and test always score the loss of tokens, and `train/loss` is that loss too.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"bidirectional"})
    refuses: ClassVar[Mapping[str, str]] = {
        "causal": "a hidden token is told from what stands before and behind it",
        "counting": "a hidden token is told from what stands before and behind it",
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
        norm_eps: float = 1e-12,
        init_std: float = 0.02,
        pair_weight: float = 0.0,
    ) -> None:
        super().__init__(dim=dim, vocab_size=vocab_size, weight=weight, bias=bias, init_std=init_std)
        check_range("head.norm_eps", norm_eps, 0)
        self.transform = (
            nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps=norm_eps)) if transform else None
        )
        if self.transform is not None:
            dense = self.transform[0]
            assert isinstance(dense, nn.Linear)
            nn.init.normal_(dense.weight, std=init_std)
            nn.init.zeros_(dense.bias)
        self.pair_weight = pair_weight
        self.pair = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 2)) if pair_weight else None
        for layer in () if self.pair is None else (self.pair[0], self.pair[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=init_std)
            nn.init.zeros_(layer.bias)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log probabilities [..., V] of hidden states [..., D]."""
        return super().logits(hidden if self.transform is None else self.transform(hidden))

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        labels = labels_of(batch)
        learned = labels != IGNORE
        return self.loss(hidden[learned], labels[learned])

    def objective(self, hidden: Tensor, batch: Batch) -> Objective:
        output = self(hidden, batch)
        if self.pair is None:
            return Objective(output.loss_sum, output, {})
        classes = batch["classes"]
        loss = F.cross_entropy(self._pair_logits(hidden), classes, ignore_index=IGNORE, reduction="sum")
        pairs = HeadOutput(loss, (classes != IGNORE).sum())
        return Objective(output.loss_sum + self.pair_weight * loss, output, {"next_sentence_loss": pairs})

    def pairs_told(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B] bool each: whether the class of a pair is told, and whether the row is a pair."""
        classes = batch["classes"]
        return self._pair_logits(hidden).argmax(-1) == classes, classes != IGNORE

    def _pair_logits(self, hidden: Tensor) -> Tensor:
        """[B, 2]"""
        assert self.pair is not None, "the task sets pair_weight of the head where it makes pairs"
        logits = self.pair(hidden[:, 0])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        labels = labels_of(batch)
        learned = labels != IGNORE
        found = self.each(hidden[learned], labels[learned])
        losses = torch.zeros(labels.shape, dtype=found.losses.dtype, device=labels.device)
        losses[learned], correct = found.losses, torch.zeros_like(learned)
        correct[learned] = found.correct
        return Scores(losses, correct)
