"""The recurrent encoder-decoder with attention."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import StateCache, States
from manyheads.errors import UserError, check_count
from manyheads.model.checks import check_fraction, check_positive
from manyheads.model.lstm import open_forget_gates
from manyheads.model.recurrent import Projection, read_rows


class Memory(NamedTuple):
    """What the encoder leaves of each source."""

    states: Tensor  # [B, S, 2 H]
    seen: Tensor | None  # [B, S] bool; None: no source is padded
    fresh: States  # what the decoder begins each text with, [layers, B, H] twice

    def keep(self, rows: Tensor) -> Memory:
        """Those of the rows at these places, [N] int64."""
        seen = None if self.seen is None else self.seen[rows]
        return Memory(self.states[rows], seen, tuple(state[:, rows] for state in self.fresh))


class MemoryCache(StateCache):
    """The states of a decoder, and what it attends to; the first batch that is read with it brings `source_ids`."""

    memory: Memory | None = None

    @property
    def num_bytes(self) -> int:
        """The room taken for states, the sources' included."""
        memory = self.memory
        parts = (
            () if memory is None else (memory.states, *memory.fresh, *(() if memory.seen is None else (memory.seen,)))
        )
        return super().num_bytes + sum(part.nbytes for part in parts)

    def keep(self, rows: Tensor) -> None:
        """Drops every row but `rows`, [N] int64 places."""
        super().keep(rows)
        self.memory = None if self.memory is None else self.memory.keep(rows)


@final
class Seq2SeqLSTM(nn.Module):
    """Sources to states by an LSTM in both directions, texts by another that begins where those end (Sutskever, Vinyals and Le
    2014) and attends to them at each position (Bahdanau, Cho and Bengio 2015; Luong, Pham and Manning 2015, section 3.1, the
    general score of equation 8, without input feeding, so that a text is read at once).

    Args:
        vocab_size: V, of sources and texts.
        dim: D, the width of the embeddings, which both share, and of the states that the head reads.
        hidden: H, the width of the states, of the encoder in each direction.
        num_encoder_layers, num_layers: of the encoder and of the decoder.
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017).
        dropout: on embeddings, between layers, and on what the decoder's states and what they attend to are made into.
        forget_bias: the bias of the forget gates at the start.
        init_std: the standard deviation of the embeddings at the start; matrices start uniform within 1 / sqrt(H).

    Raises:
        UserError: for numbers out of range.
    """

    cuts_rows: ClassVar[bool] = True  # at the borders of segments, which shapes alone do not tell
    reads_sources: ClassVar[bool] = True
    kind: ClassVar[str] = "encoder-decoder"
    max_positions: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        hidden: int = 256,
        num_encoder_layers: int = 1,
        num_layers: int = 1,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
        init_std: float = 0.1,
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim", "hidden", "num_encoder_layers", "num_layers"):
            check_count(f"model.{key}", settings[key])
        check_fraction("model.dropout", dropout)
        check_positive("model.init_std", init_std)
        self.settings = settings
        self.vocab_size = vocab_size
        self.dim = dim
        self.dropout = dropout
        self.embedding = nn.Embedding(vocab_size, dim)
        between = [dropout if layers > 1 else 0.0 for layers in (num_encoder_layers, num_layers)]
        self.encoder = nn.LSTM(
            dim, hidden, num_encoder_layers, batch_first=True, bidirectional=True, dropout=between[0]
        )
        self.decoder = nn.LSTM(dim, hidden, num_layers, batch_first=True, dropout=between[1])
        # from the last layer's two ends to the first states and cells of each of the decoder's layers
        self.bridges = nn.ModuleList(Projection(2 * hidden, num_layers * hidden) for _ in range(2))
        self.attention = SourceAttention(hidden, dim)
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew; biases become 0, but for those of the forget gates."""
        nn.init.normal_(self.embedding.weight, std=self.settings["init_std"])
        for layers in (self.encoder, self.decoder):
            layers.reset_parameters()
            open_forget_gates(layers, self.settings["forget_bias"])
        for module in (*self.bridges.modules(), *self.attention.modules()):
            if isinstance(module, nn.Linear):
                module.reset_parameters()
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def new_cache(self, batch_size: int, max_len: int) -> MemoryCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return MemoryCache(batch_size=batch_size, max_len=max_len)

    @torch.compiler.disable  # torch has a kernel for a whole layer, and where rows are cut no compiler knows beforehand
    def forward(self, batch: Batch, cache: MemoryCache | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Hidden states [B, T, D] of `input_ids`.

        With a cache the batch continues what the cache holds; the first one brings the sources. Raises UserError when the
        sources are missing.
        """
        memory = self._remember(batch) if cache is None or cache.memory is None else cache.memory
        before = None if cache is None else cache.states
        x = self._drop(self.embedding(batch["input_ids"]))
        x, after = read_rows(self.decoder, x, batch.get("segments"), batch.get("positions"), before, memory.fresh)
        if cache is not None:
            cache.memory = memory
            cache.put(after, x.shape[1])
        return self._drop(self.attention(x, memory.states, memory.seen))

    def _remember(self, batch: Batch) -> Memory:
        if "source_ids" not in batch:
            raise UserError(
                "the model is an encoder-decoder, and the batch has no sources to read: set a task that has them, or "
                "a model without an encoder, such as model=lstm."
            )
        segments = batch.get("source_segments")
        states, ends = read_rows(self.encoder, self._drop(self.embedding(batch["source_ids"])), segments)
        layers, hidden = self.settings["num_layers"], self.settings["hidden"]
        fresh = []
        for bridge, end in zip(self.bridges, ends, strict=True):
            both = torch.cat((end[-2], end[-1]), -1)  # [B, 2 H], the last layer's
            fresh.append(torch.tanh(bridge(both)).unflatten(-1, (layers, hidden)).transpose(0, 1).contiguous())
        return Memory(states, None if segments is None else segments > 0, tuple(fresh))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class SourceAttention(nn.Module):
    """tanh of a matrix of [c; h], h a state of the decoder and c the mean of the source's states by the softmax of h W s (Luong,
    Pham and Manning 2015, equations 5, 7 and 8)."""

    part: ClassVar[str] = "attention"

    def __init__(self, hidden: int, out: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.score = nn.Linear(hidden, 2 * hidden, bias=False)
        self.combine = nn.Linear(3 * hidden, out, bias=False)

    def forward(self, x: Tensor, states: Tensor, seen: Tensor | None) -> Tensor:
        """[B, T, H], [B, S, 2 H] and [B, S] bool -> [B, T, out]; of an empty source c is 0."""
        mask = None if seen is None else (seen | ~seen.any(-1, keepdim=True))[:, None]
        context = F.scaled_dot_product_attention(self.score(x), states, states, attn_mask=mask, scale=1.0)
        if seen is not None:
            context = context * seen.any(-1)[:, None, None]
        return torch.tanh(self.combine(torch.cat((context, x), -1)))

    def further_flops(self, seq_len: int, training: bool) -> int:
        """Of one position: the products of its query with the states of a source as long as a row, and of those with its
        softmax."""
        return 4 * 2 * self.hidden * seq_len
