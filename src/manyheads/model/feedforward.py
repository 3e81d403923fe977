"""The window network: a feed-forward network over the last few tokens, without attention and without a state."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import TokenCache
from manyheads.errors import check_count
from manyheads.model.checks import check_fraction, check_positive
from manyheads.model.places import places


@final
class Feedforward(nn.Module):
    """Token ids to hidden states, each made of a token and those before it in its segment, `window` in all; a place before the
    segment's first token has a vector of zeros (Bengio, Ducharme, Vincent and Jauvin 2003, section 2, equations 1 and 2).

    Args:
        vocab_size: V.
        dim: D, the width of embeddings (m in the paper).
        window: how many tokens a state is made of, itself included (n - 1 in the paper, for n-grams).
        hidden: H, the width of the layers between.
        num_layers: how many of them, each tanh of a matrix and a bias; one in the paper.
        direct: the states also have a matrix of the embeddings of their own (W in the paper).
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017), and the states are D wide, from a matrix of
            the last layer; otherwise they are that layer, H wide, or with `direct` that matrix.
        dropout: on embeddings and on each layer.
        init_std: the standard deviation of the embeddings at the start; matrices start as Glorot and Bengio 2010 say, with
            tanh in mind, biases at 0.

    Raises:
        UserError: for numbers out of range.
    """

    kind: ClassVar[str] = "causal"
    max_positions: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        window: int = 8,
        hidden: int = 512,
        num_layers: int = 1,
        direct: bool = False,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        init_std: float = 0.1,
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim", "window", "hidden", "num_layers"):
            check_count(f"model.{key}", settings[key])
        check_fraction("model.dropout", dropout)
        check_positive("model.init_std", init_std)
        self.settings = settings
        self.vocab_size = vocab_size
        self.window = window
        self.dropout = dropout
        self.embedding = nn.Embedding(vocab_size, dim)
        self.layers = WindowLayers(dim * window, hidden, num_layers, dim if tie_embeddings or direct else None, direct)
        self.dim = dim if tie_embeddings or direct else hidden
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew; biases become 0."""
        nn.init.normal_(self.embedding.weight, std=self.settings["init_std"])
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def new_cache(self, batch_size: int, max_len: int) -> TokenCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return TokenCache(batch_size=batch_size, max_len=max_len, kept=self.window - 1)

    def forward(self, batch: Batch, cache: TokenCache | None = None) -> Tensor:
        """Hidden states [B, T, D]. With a cache the batch goes on from the tokens that it holds."""
        ids, before = batch["input_ids"], places(batch, 0 if cache is None else cache.length)
        read = F.pad(ids, (self.window - 1, 0)) if cache is None else cache.before(ids)
        x = self._drop(self.embedding(read)).unfold(1, self.window, 1).transpose(2, 3)  # [B, T, window, D]
        back = torch.arange(self.window - 1, -1, -1, device=ids.device)
        x = x * (before[..., None] >= back)[..., None]  # what stands before the segment is not seen
        return self.layers(x.flatten(2), self._drop)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class WindowLayers(nn.Module):
    """tanh over tanh over the embeddings of a window, and a matrix on top where states of another width are wanted."""

    part: ClassVar[str] = "window"

    def __init__(self, width: int, hidden: int, num_layers: int, out: int | None, direct: bool) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(width if i == 0 else hidden, hidden) for i in range(num_layers))
        self.out = None if out is None else nn.Linear(hidden, out, bias=False)
        self.direct = nn.Linear(width, out, bias=False) if direct and out is not None else None

    def forward(self, x: Tensor, drop: Any) -> Tensor:
        """[..., width] -> [..., out or hidden]"""
        state = x
        for layer in self.hidden:
            state = drop(torch.tanh(layer(state)))
        if self.out is not None:
            state = self.out(state)
        return state if self.direct is None else state + self.direct(x)
