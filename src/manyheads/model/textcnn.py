"""The convolutional network over words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError, check_count
from manyheads.model.checks import check_fraction, check_positive
from manyheads.model.places import places


@final
class TextCNN(nn.Module):
    """Token ids to hidden states, which filters of several widths make of a token and its neighbours in the segment, vectors of
    zeros outside of it. With head=label, head.pool=max and head.dropout=0.5 that is CNN-rand (Kim 2014, section 2), whose
    filters here begin and end outside of a text too.

    Args:
        vocab_size: V.
        dim: the width of embeddings (k in the paper).
        widths: over how many tokens filters go; of an even width, one token more after it than before.
        filters: how many there are of each width.
        dropout: on embeddings.
        init_std: the standard deviation of the embeddings at the start; filters start uniform within the root of their inputs,
            as torch.nn.Linear does.

    Raises:
        UserError: for numbers out of range, and for no widths.
    """

    kind: ClassVar[str] = "bidirectional"
    max_positions: ClassVar[int | None] = None
    output_weight: ClassVar[None] = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        widths: Sequence[int] = (3, 4, 5),
        filters: int = 100,
        dropout: float = 0.0,
        init_std: float = 0.1,
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim", "filters"):
            check_count(f"model.{key}", settings[key])
        if not widths:
            raise UserError("model.widths=[]: set how many tokens filters go over, such as [3,4,5].")
        for width in widths:
            check_count("model.widths", width)
        check_fraction("model.dropout", dropout)
        check_positive("model.init_std", init_std)
        self.settings: dict[str, Any] = settings | {"widths": list(widths)}
        self.vocab_size = vocab_size
        self.dim = filters * len(widths)
        self.dropout = dropout
        self.embedding = nn.Embedding(vocab_size, dim)
        self.convolutions = nn.ModuleList(Convolution(dim, filters, width) for width in widths)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew."""
        nn.init.normal_(self.embedding.weight, std=self.settings["init_std"])
        for module in self.convolutions.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def forward(self, batch: Batch, cache: None = None) -> Tensor:
        """Hidden states [B, T, D], D the filters of all widths. There is no cache: a state depends on what comes later."""
        assert cache is None, "a network that reads in both directions reads each row as a whole"
        ids = batch["input_ids"]
        segments = batch.get("segments", torch.ones_like(ids))
        before = places(batch).expand_as(ids)
        x = self.embedding(ids)
        x = F.dropout(x, self.dropout) if self.training and self.dropout else x
        return torch.cat([convolution(x, segments, before) for convolution in self.convolutions], -1)


class Convolution(nn.Module):
    """Filters of one width over the tokens around each token, and a rectifier; the tokens stand one after the other in a row
    of the weight [filters, width x dim]."""

    part: ClassVar[str] = "convolution"

    def __init__(self, dim: int, filters: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.filters = nn.Linear(width * dim, filters)

    def forward(self, x: Tensor, segments: Tensor, before: Tensor) -> Tensor:
        """[B, T, dim], and the segment and the place of each token, [B, T] -> [B, T, filters]."""
        back, ahead = (self.width - 1) // 2, self.width // 2
        around = F.pad(x, (0, 0, back, ahead)).unfold(1, self.width, 1).transpose(2, 3)  # [B, T, width, dim]
        # a neighbour is of the same text where its segment is, and its place is as far away as it stands
        offsets = torch.arange(-back, ahead + 1, device=x.device)
        same = F.pad(segments, (back, ahead), value=-1).unfold(1, self.width, 1) == segments[..., None]
        near = F.pad(before, (back, ahead)).unfold(1, self.width, 1) == before[..., None] + offsets
        return torch.relu(self.filters((around * (same & near)[..., None]).flatten(2)))
