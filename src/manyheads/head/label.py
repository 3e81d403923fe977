"""The head of classification: one class for each row, or any number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head, HeadOutput, Objective, Scores


@final
class Label(Head):
    """Scores each class for a row, from the states of its positions pooled into one; the loss is the cross-entropy, in nats.

    With several labels to a row each is a question of its own (binary cross-entropy), and the loss their mean.

    Args:
        dim: D, the network's width.
        labels: the names of the classes; the task fills them in, from the data.
        pool: mean of the row's positions; the first or the last of them; or max, feature by feature.
        hidden: whether a layer of width D with tanh stands before the classes (BERT's pooler: Devlin et al. 2019).
        dropout: on the pooled states.
        several: whether a row can have several labels; the task fills it in.
        class_weights: what the loss of each class is multiplied by in training; None: 1.
        label_smoothing: e; training learns 1 - e of the class and e of the uniform distribution (Szegedy et al. 2016,
            section 7).
        init_std: standard deviation of the weights at the start (BERT's 0.02).
        table: gives the logits [B, C] of the network's states and a batch, of a network that has them itself; then there are no
            weights, and none of the options applies.

    Validation and test always score the plain loss.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "bidirectional"})
    refuses: ClassVar[Mapping[str, str]] = {
        "encoder-decoder": "one text leaves its encoder or its decoder nothing to read",
        "counting": "what was counted are tokens, and no states come of it",
    }
    reads: ClassVar[str] = "classes"

    def __init__(
        self,
        *,
        dim: int,
        labels: Sequence[str] | None = None,
        pool: Literal["mean", "first", "last", "max"] = "mean",
        hidden: bool = False,
        dropout: float = 0.0,
        several: bool = False,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        init_std: float = 0.02,
        table: Callable[[Tensor, Batch], Tensor] | None = None,
    ) -> None:
        super().__init__()
        check_range("head.dropout", dropout, 0, 1)
        check_range("head.label_smoothing", label_smoothing, 0, 1)
        check_range("head.init_std", init_std, 0)
        self.labels = list(labels or ())
        self.pool = POOLS[pool]
        self.hidden = nn.Linear(dim, dim) if hidden else None
        self.dropout = dropout
        self.several = several
        self.label_smoothing = label_smoothing
        self.table = table
        self.output = nn.Linear(dim, len(self.labels)) if table is None else None
        if class_weights is not None and len(class_weights) != len(self.labels):
            raise UserError(
                f"head.class_weights has {len(class_weights)} numbers for {len(self.labels)} classes: "
                f"{', '.join(self.labels)}. Set one for each, in this order, or null."
            )
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.class_weights: Tensor | None
        for layer in (self.hidden, self.output):
            if layer is not None and layer.weight.numel():
                nn.init.normal_(layer.weight, std=init_std)
                nn.init.zeros_(layer.bias)

    def class_logits(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Unnormalised log probabilities [B, C], float32 at least; with several labels, the log odds of each."""
        if self.table is not None:
            return self.table(hidden, batch)
        assert self.output is not None
        pooled = self.pool(hidden, batch.get("segments"))  # [B, D]
        if self.hidden is not None:
            pooled = torch.tanh(self.hidden(pooled))
        logits = self.output(F.dropout(pooled, self.dropout, self.training))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def probabilities(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The probability of each class [B, C]; with several labels, of each label by itself."""
        logits = self.class_logits(hidden, batch)
        return logits.sigmoid() if self.several else logits.softmax(-1)

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        losses = self._losses(self.class_logits(hidden, batch), batch)
        return HeadOutput(losses.sum(), self.learned(batch).sum())

    def objective(self, hidden: Tensor, batch: Batch) -> Objective:
        logits = self.class_logits(hidden, batch)
        losses, learned = self._losses(logits, batch), self.learned(batch)
        output = HeadOutput(losses.sum(), learned.sum())
        if self.class_weights is None and not self.label_smoothing:
            return Objective(output.loss_sum, output, {})
        weighted = self._learn(logits, batch, learned)
        return Objective(weighted, output, {"weighted_loss": HeadOutput(weighted, output.count)})

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        logits = self.class_logits(hidden, batch)
        classes = batch["classes"]
        right = ((logits > 0) == (classes > 0.5)).all(-1) if self.several else logits.argmax(-1) == classes
        return Scores(self._losses(logits, batch), right & self.learned(batch))

    def blank(self, batch_size: int, seq_len: int) -> Tensor:
        """Of one class for each row, or of each label."""
        shape = (batch_size, len(self.labels)) if self.several else (batch_size,)
        return torch.zeros(shape, dtype=torch.float32 if self.several else torch.int64)

    def learned(self, batch: Batch) -> Tensor:
        """Which rows have a class, [B] bool."""
        classes = batch["classes"]
        return (classes != IGNORE).all(-1) if self.several else classes != IGNORE

    def _losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """[B], 0 where there is no class."""
        classes = batch["classes"]
        if not self.several:
            return F.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="none")
        losses = F.binary_cross_entropy_with_logits(logits, classes.clamp(min=0).to(logits), reduction="none")
        return losses.mean(-1) * self.learned(batch)

    def _learn(self, logits: Tensor, batch: Batch, learned: Tensor) -> Tensor:
        """The sum that training minimises with weights or smoothing, in units of one row."""
        classes, weights = batch["classes"], self.class_weights
        if self.several:
            wanted = classes.clamp(min=0).to(logits) * (1 - self.label_smoothing) + self.label_smoothing / 2
            losses = F.binary_cross_entropy_with_logits(logits, wanted, weight=weights, reduction="none")
            return (losses.mean(-1) * learned).sum()
        smoothing = self.label_smoothing
        return F.cross_entropy(
            logits, classes, weight=weights, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
        )


def _mean(hidden: Tensor, segments: Tensor | None) -> Tensor:
    if segments is None:
        return hidden.mean(1)
    inside = (segments > 0).to(hidden)[..., None]  # [B, T, 1]
    return (hidden * inside).sum(1) / inside.sum(1).clamp(min=1)


def _first(hidden: Tensor, segments: Tensor | None) -> Tensor:
    return hidden[:, 0]


def _last(hidden: Tensor, segments: Tensor | None) -> Tensor:
    if segments is None:
        return hidden[:, -1]
    last = (segments > 0).sum(-1).clamp(min=1) - 1  # rows are padded on the right
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _max(hidden: Tensor, segments: Tensor | None) -> Tensor:
    if segments is None:
        return hidden.amax(1)
    return hidden.masked_fill((segments == 0)[..., None], torch.finfo(hidden.dtype).min).amax(1)


POOLS = {"mean": _mean, "first": _first, "last": _last, "max": _max}
