"""The recurrent network: long short-term memory, in one direction or in both."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from manyheads.batch import Batch
from manyheads.decoding.cache import StateCache
from manyheads.errors import check_count
from manyheads.model.checks import check_fraction, check_positive

States = tuple[Tensor, Tensor]
"""Hidden and cell states, [layers x directions, B, H] each."""


class Projection(nn.Linear):
    """From the width of the states to that of the embeddings."""


class LSTM(nn.Module):
    """Token ids to hidden states, each made of the token and the state before it (Hochreiter and Schmidhuber 1997, with the
    forget gates of Gers, Schmidhuber and Cummins 2000); in a packed row every segment starts with a state of zeros.

    Args:
        vocab_size: V.
        dim: D, the width of embeddings.
        hidden: H, the width of the states in each direction; None for D.
        num_layers: how many layers.
        bidirectional: each layer also reads every segment from its end (Graves and Schmidhuber 2005), and states are 2 H
            wide: for tasks that have the whole text.
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017), behind a projection where the states are
            not D wide; otherwise the head reads the states as they are.
        dropout: on what goes from one layer to the next, embeddings and the last layer's states included, and never on what
            goes from one position to the next (Zaremba, Sutskever and Vinyals 2014).
        forget_bias: the bias of the forget gates at the start (1: Jozefowicz, Zaremba and Sutskever 2015, section 2.2).
        init_std: the standard deviation of the embeddings at the start; matrices start uniform within 1 / sqrt(H).

    Raises:
        UserError: for numbers out of range.
    """

    cuts_rows: ClassVar[bool] = True  # at the borders of segments, which shapes alone do not tell
    kind: str = "causal"  # of an instance: bidirectional where it reads from both ends
    max_positions: int | None = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        hidden: int | None = None,
        num_layers: int = 2,
        bidirectional: bool = False,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
        init_std: float = 0.1,
    ) -> None:
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim", "num_layers", *(["hidden"] if hidden is not None else [])):
            check_count(f"model.{key}", settings[key])
        check_fraction("model.dropout", dropout)
        check_positive("model.init_std", init_std)
        hidden = hidden or dim
        self.settings = settings | {"hidden": hidden}
        self.vocab_size = vocab_size
        self.kind = "bidirectional" if bidirectional else "causal"
        self.dropout = dropout
        self.embedding = nn.Embedding(vocab_size, dim)
        self.lstm = nn.LSTM(
            dim,
            hidden,
            num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,  # torch warns of dropout between layers that are not there
        )
        width = hidden * (1 + bidirectional)
        self.projection = Projection(width, dim, bias=False) if tie_embeddings and width != dim else None
        self.dim = dim if tie_embeddings else width
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew; biases become 0, but for those of the forget gates."""
        hidden = self.lstm.hidden_size
        nn.init.normal_(self.embedding.weight, std=self.settings["init_std"])
        self.lstm.reset_parameters()
        with torch.no_grad():
            for name, parameter in self.lstm.named_parameters():
                if name.startswith("bias"):
                    parameter.zero_()
                if name.startswith("bias_ih"):
                    parameter[hidden : 2 * hidden] = self.settings["forget_bias"]  # gates: input, forget, cell, output
        if self.projection is not None:
            self.projection.reset_parameters()

    def new_cache(self, batch_size: int, max_len: int) -> StateCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        assert self.kind == "causal", "a network that reads in both directions reads each row as a whole"
        return StateCache(batch_size=batch_size, max_len=max_len)

    @torch.compiler.disable  # torch has a kernel for a whole layer, and where rows are cut no compiler knows beforehand
    def forward(self, batch: Batch, cache: StateCache | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Hidden states [B, T, D]; zeros on padding.

        With a cache the first segment of each row goes on from the cached states, unless its positions begin at 0.
        """
        input_ids, segments, positions = batch["input_ids"], batch.get("segments"), batch.get("positions")
        x = self._drop(self.embedding(input_ids))
        if segments is None:
            x, after = self.lstm(x, None if cache is None else cache.before(positions))
        else:
            x, after = self._read_cut(x, cut(segments, positions), None if cache is None else cache.states)
        if cache is not None:
            cache.put(after, input_ids.shape[1])
        x = self._drop(x)
        return x if self.projection is None else self.projection(x)

    def _read_cut(self, x: Tensor, pieces: Pieces, before: States | None) -> tuple[Tensor, States]:
        """Hidden states of rows [B, T, D] that are cut up, and the states of each row after its last piece."""
        rows = x.shape[0]
        starts = None if before is None else (_first(before[0], pieces), _first(before[1], pieces))
        found, (hidden, cell) = self.lstm(PackedSequence(x.flatten(0, 1)[pieces.tokens], pieces.batch_sizes), starts)
        whole = found.data.new_zeros(rows * x.shape[1], found.data.shape[1])
        whole = whole.index_copy(0, pieces.tokens, found.data).unflatten(0, (rows, -1))
        old = before or (None, None)
        return whole, (_last(hidden, pieces, rows, old[0]), _last(cell, pieces, rows, old[1]))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class Pieces(NamedTuple):
    """The segments of all rows as rows of their own, longest first, as torch packs them."""

    tokens: Tensor  # [N] int64, places in the flat batch: the first tokens of all pieces, then the second ones, ...
    batch_sizes: Tensor  # [longest] int64 on the CPU, how many pieces have a first token, a second one, ...
    rows: Tensor  # [pieces] int64, the row that each piece is of
    goes_on: Tensor  # [pieces] bool, whether it is its row's first and may go on from what was read before the batch
    lasts: Tensor  # [pieces] bool, whether it is its row's last


def cut(segments: Tensor, positions: Tensor | None = None) -> Pieces:
    """Cuts rows at the borders of their segments, padding (0) away, and where positions begin again at 0; [B, T] each."""
    new = torch.ones_like(segments, dtype=torch.bool)
    new[:, 1:] = segments[:, 1:] != segments[:, :-1]
    if positions is not None:
        new |= positions == 0
    real = segments > 0
    new &= real
    places = torch.arange(segments.numel(), device=segments.device)
    tokens = real.flatten().nonzero().squeeze(-1)
    piece = (new.flatten().cumsum(0) - 1)[tokens]
    offset = (places - torch.where(new.flatten(), places, 0).cummax(0).values)[tokens]
    order = torch.bincount(piece).argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    rows = new.nonzero()[:, 0]  # [pieces], in the order of the rows
    border = torch.ones(len(rows) + 1, dtype=torch.bool, device=rows.device)
    border[1:-1] = rows[1:] != rows[:-1]
    tokens = tokens[(offset * len(order) + rank[piece]).argsort()]
    goes_on = border[:-1][order]
    if positions is not None:
        goes_on = goes_on & (positions.flatten()[tokens[: len(order)]] != 0)
    sizes = torch.bincount(offset).cpu()
    return Pieces(tokens=tokens, batch_sizes=sizes, rows=rows[order], goes_on=goes_on, lasts=border[1:][order])


def _first(state: Tensor, pieces: Pieces) -> Tensor:
    """What each piece starts with, [L, pieces, H]: its row's state [L, B, H] where it goes on, else zeros."""
    return state[:, pieces.rows] * pieces.goes_on[None, :, None]


def _last(state: Tensor, pieces: Pieces, rows: int, old: Tensor | None) -> Tensor:
    """Each row's state after its last piece, [L, B, H], of those of all pieces; a row without any keeps its old one."""
    whole = state.new_zeros(state.shape[0], rows, state.shape[2]) if old is None else old.to(state.dtype)
    return whole.index_copy(1, pieces.rows[pieces.lasts], state[:, pieces.lasts])
