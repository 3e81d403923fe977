"""The network of word2vec: a vector for each word."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import check_count

KINDS = {"skip_gram": "skip-gram", "cbow": "cbow"}
"""The kind of network that each objective makes."""


@final
class Word2Vec(nn.Module):
    """Words to one state, the mean of their vectors (Mikolov et al. 2013a, section 3). Under head=negative_sampling that is
    word2vec: skip-gram reads one word, CBOW all words of a window.

    Args:
        vocab_size: V.
        dim: D, the width of the vectors.
        objective: skip_gram tells each word of a window from the one in its middle, cbow the one in the middle from all others.

    Raises:
        UserError: for numbers out of range.
    """

    kind: str = "skip-gram"  # of an instance: that of its objective
    max_positions: ClassVar[int | None] = None
    output_weight: ClassVar[None] = None

    def __init__(
        self, *, vocab_size: int, dim: int = 100, objective: Literal["skip_gram", "cbow"] = "skip_gram"
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim"):
            check_count(f"model.{key}", settings[key])
        self.settings = settings
        self.kind = KINDS[objective]
        self.vocab_size = vocab_size
        self.dim = dim
        self.embedding = nn.Embedding(vocab_size, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all vectors anew, uniform within 1 / (2 D) (`InitNet` of word2vec.c)."""
        nn.init.uniform_(self.embedding.weight, -0.5 / self.dim, 0.5 / self.dim)

    def forward(self, batch: Batch, cache: None = None) -> Tensor:
        """[B, 1, D], the mean over the words of each row."""
        assert cache is None, "words that are read together have no order to go on from"
        return mean_of(self.embedding(batch["input_ids"]), batch.get("segments"))


def mean_of(vectors: Tensor, segments: Tensor | None) -> Tensor:
    """The mean [B, 1, D] of [B, W, D] vectors, without those whose segment is 0."""
    if vectors.shape[1] == 1:
        return vectors
    if segments is None:
        return vectors.mean(1, keepdim=True)
    inside = (segments > 0).to(vectors)[:, None]  # [B, 1, W]
    return inside @ vectors / torch.clamp(inside.sum(-1, keepdim=True), min=1)
