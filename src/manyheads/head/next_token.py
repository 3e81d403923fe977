"""The language model's head: which token comes next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.errors import check_count, check_range
from manyheads.head.base import HeadOutput, Objective
from manyheads.head.multi_token import Ahead, labels_ahead
from manyheads.head.token import TokenHead, check_unused, labels_of


class NextToken(TokenHead):
    """Scores every token of the vocabulary at every position; the loss is the cross-entropy, in nats.

    Args:
        dim: D, the network's width.
        vocab_size: V.
        weight: [V, D], the network's embedding when the two are tied (Press and Wolf 2017); None for a matrix of its own.
        bias: adds a learned bias per token.
        init_std: standard deviation of an own weight at the start (GPT-2's 0.02: Radford et al. 2018, section 4.1).
        softcap: c of c tanh(logit / c) (30 in Gemma 2: Gemma Team 2024, section 2); None for none.
        z_loss: in training adds z_loss * (log Z)^2 to each label's loss, Z the softmax's denominator, which keeps logits
            near 0 (Chowdhery et al. 2022, PaLM, section 5: 1e-4). Logged without its factor, as `train/z_loss`.
        label_smoothing: e; training learns 1 - e of the label and e of the uniform distribution over V (Szegedy et al.
            2016, section 7). Logged as `train/smoothed_loss`.
        mtp_tokens: how many tokens beyond the next one training predicts too, each through a layer of its own and the
            shared output matrix (Gloeckle et al. 2024, equation 2; the layers: `multi_token`). Where a label would lie
            beyond a segment's end, nothing is learned. Logged as `train/mtp_loss_2` (the token after the next) and on.
        mtp_weight: what each of those losses is multiplied by (1: Gloeckle et al. 2024; DeepSeek-V3, section 4.2: 0.3).
        chunked: makes the logits of few positions at a time, and their gradients at once, so that a large vocabulary
            takes a fraction of the memory (`large_vocabulary`). z_loss and label_smoothing imply it.
        table: gives the log probabilities [..., V] of the network's states, of a network that counts; then there is no
            matrix, and none of the options applies.

    Validation and test always score the plain loss, and `train/loss` is that loss too.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "encoder-decoder", "counting"})
    refuses: ClassVar[Mapping[str, str]] = {"bidirectional": "its positions see the token that comes next"}

    def __init__(
        self,
        *,
        dim: int,
        vocab_size: int,
        weight: nn.Parameter | None = None,
        bias: bool = False,
        init_std: float = 0.02,
        softcap: float | None = None,
        z_loss: float = 0.0,
        label_smoothing: float = 0.0,
        mtp_tokens: int = 0,
        mtp_weight: float = 1.0,
        chunked: bool = False,
        table: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(
            dim=dim,
            vocab_size=vocab_size,
            weight=weight,
            bias=bias,
            init_std=init_std,
            softcap=softcap,
            chunked=chunked,
            table=table,
        )
        if table is not None:
            check_unused(z_loss=z_loss, label_smoothing=label_smoothing, mtp_tokens=mtp_tokens)
        check_range("head.z_loss", z_loss, 0)
        check_range("head.label_smoothing", label_smoothing, 0, 1)
        check_count("head.mtp_tokens", mtp_tokens, 0)
        check_range("head.mtp_weight", mtp_weight, 0)
        self.z_loss = z_loss
        self.label_smoothing = label_smoothing
        self.mtp_weight = mtp_weight
        self.ahead = nn.ModuleList(Ahead(dim) for _ in range(mtp_tokens))

    def objective(self, hidden: Tensor, batch: Batch) -> Objective:
        labels = labels_of(batch)
        total, output, terms = self._learn(hidden, labels)
        for distance, layer in enumerate(self.ahead, start=1):
            further = self.loss(layer(hidden), labels_ahead(labels, batch.get("segments"), distance))
            total = total + self.mtp_weight * further.loss_sum
            terms[f"mtp_loss_{distance + 1}"] = further
        return Objective(total, output, terms)

    def further_flops(self, seq_len: int, training: bool) -> int:
        """FLOPs of one token besides one product with each weight: tokens further ahead share the output matrix."""
        return 2 * self.weight.numel() * len(self.ahead) if training and self.weight is not None else 0

    def _learn(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, HeadOutput, dict[str, HeadOutput]]:
        """What is learned of the next token, its plain loss, and what is logged beside it."""
        if not (self.z_loss or self.label_smoothing):
            output = self.loss(hidden, labels)
            return output.loss_sum, output, {}
        sums = self.sums(hidden, labels, z_loss=self.z_loss, label_smoothing=self.label_smoothing)
        count = (labels != IGNORE).sum()
        terms = {}
        if self.z_loss:
            terms["z_loss"] = HeadOutput(sums.squares, count)
        if self.label_smoothing:
            terms["smoothed_loss"] = HeadOutput(sums.smoothed, count)
        return sums.objective, HeadOutput(sums.loss, count), terms
