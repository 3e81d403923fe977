"""The network of GloVe: a vector for each word."""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import check_count


@final
class Glove(nn.Module):
    """The first word of a pair to its vector. Under head=cooccurrence, which has all else, that is GloVe (Pennington et al.
    2014).

    Args:
        vocab_size: V.
        dim: D, the width of the vectors.

    Raises:
        UserError: for numbers out of range.
    """

    kind: ClassVar[str] = "co-occurrence"
    max_positions: ClassVar[int | None] = None
    output_weight: ClassVar[None] = None

    def __init__(self, *, vocab_size: int, dim: int = 100) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim"):
            check_count(f"model.{key}", settings[key])
        self.settings = settings
        self.vocab_size = vocab_size
        self.dim = dim
        self.embedding = nn.Embedding(vocab_size, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all vectors anew, uniform within 1 / (2 D) (`initialize_parameters` of GloVe's glove.c)."""
        nn.init.uniform_(self.embedding.weight, -0.5 / self.dim, 0.5 / self.dim)

    def forward(self, batch: Batch, cache: None = None) -> Tensor:
        """[B, 1, D]"""
        assert cache is None, "a pair of words is read at once"
        return self.embedding(batch["input_ids"][:, :1])
