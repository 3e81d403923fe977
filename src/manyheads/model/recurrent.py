"""What the recurrent networks share: one layer of states over another, in one direction or in both, over rows cut to texts."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from manyheads.batch import Batch
from manyheads.decoding.cache import StateCache, States
from manyheads.errors import check_count
from manyheads.model.carried import Carried
from manyheads.model.checks import check_fraction, check_positive
from manyheads.model.variational import read_under_masks


class Projection(nn.Linear):
    """From the width of the states to that of the embeddings."""

    part: ClassVar[str] = "projection"


class Recurrent(nn.Module, ABC):
    """Token ids to hidden states, each made of the token and the state before it; in a packed row every segment starts with a
    state of zeros.

    A subclass names torch's layers in `layers_type`; they are its submodule of its own name in small letters.

    Args:
        vocab_size: V.
        dim: D, the width of embeddings.
        hidden: H, the width of the states in each direction; None for D.
        num_layers: how many layers.
        bidirectional: each layer also reads every segment from its end (Schuster and Paliwal 1997), and states are 2 H
            wide: for tasks that have the whole text.
        tie_embeddings: the head uses the embedding's weight (Press and Wolf 2017), behind a projection where the states are
            not D wide; otherwise the head reads the states as they are.
        dropout: on what goes from one layer to the next, embeddings and the last layer's states included, and never on what
            goes from one position to the next (Zaremba, Sutskever and Vinyals 2014).
        variational: dropout has one mask for each text and layer, the same at all positions (Gal and Ghahramani 2016; see
            `read_under_masks`); otherwise a new one at each position.
        init_std: the standard deviation of the embeddings at the start; matrices start uniform within 1 / sqrt(H), biases at 0.

    Raises:
        UserError: for numbers out of range.
    """

    layers_type: ClassVar[type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]]
    cuts_rows: ClassVar[bool] = True  # at the borders of segments, which shapes alone do not tell
    kind: str = "causal"  # of an instance: bidirectional where it reads from both ends
    carries: bool = True  # of an instance: not where it reads from both ends
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
        variational: bool = False,
        init_std: float = 0.1,
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim", "num_layers", *(["hidden"] if hidden is not None else [])):
            check_count(f"model.{key}", settings[key])
        check_fraction("model.dropout", dropout)
        check_positive("model.init_std", init_std)
        hidden = hidden or dim
        self.settings = settings | {"hidden": hidden}
        self.vocab_size = vocab_size
        self.kind, self.carries = ("bidirectional", False) if bidirectional else ("causal", True)
        self.carried = Carried()
        self.dropout = dropout
        self.variational = variational
        self.embedding = nn.Embedding(vocab_size, dim)
        layers = self.layers_type(
            dim,
            hidden,
            num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            # torch warns of dropout between layers that are not there
            dropout=dropout if num_layers > 1 and not variational else 0.0,
        )
        self.add_module(type(self).__name__.lower(), layers)
        width = hidden * (1 + bidirectional)
        self.projection = Projection(width, dim, bias=False) if tie_embeddings and width != dim else None
        self.dim = dim if tie_embeddings else width
        self.reset_parameters()

    @property
    def layers(self) -> nn.RNNBase:
        """Torch's own, all in one."""
        return cast(nn.RNNBase, self.get_submodule(type(self).__name__.lower()))

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The embedding [V, D] when it is tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all weights anew; biases become 0."""
        nn.init.normal_(self.embedding.weight, std=self.settings["init_std"])
        self.layers.reset_parameters()
        with torch.no_grad():
            for name, parameter in self.layers.named_parameters():
                if name.startswith("bias"):
                    parameter.zero_()
        if self.projection is not None:
            self.projection.reset_parameters()

    def new_cache(self, batch_size: int, max_len: int) -> StateCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        assert self.kind == "causal", "a network that reads in both directions reads each row as a whole"
        return StateCache(batch_size=batch_size, max_len=max_len)

    @torch.compiler.disable  # torch has a kernel for a whole layer, and where rows are cut no compiler knows beforehand
    def forward(self, batch: Batch, cache: StateCache | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Hidden states [B, T, D]; zeros on padding.

        With a cache the first segment of each row goes on from the cached states, unless its positions begin at 0; so it does
        from those of its lane, where the batch has `lanes`.
        """
        cache = cache or self.carried.of(batch, self.training)
        input_ids, segments, positions = batch["input_ids"], batch.get("segments"), batch.get("positions")
        x, before = self._drop(self.embedding(input_ids)), None if cache is None else cache.states
        masked = self.dropout if self.training and self.variational else 0.0
        x, after = read_rows(self.layers, x, segments, positions, before, masked=masked)
        if cache is not None:
            cache.put(after, input_ids.shape[1])
        x = self._drop(x)
        return x if self.projection is None else self.projection(x)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout and not self.variational else x


def read_rows(
    layers: nn.RNNBase,
    x: Tensor,
    segments: Tensor | None,
    positions: Tensor | None = None,
    before: States | None = None,
    fresh: States | None = None,
    masked: float = 0.0,
) -> tuple[Tensor, States]:
    """Hidden states [B, T, H] of embedded rows [B, T, D], zeros on padding; and the states of each row behind its last token.

    Args:
        layers: torch's own, all in one.
        before: the states with which the first segment of each row goes on, unless its positions begin at 0; None: nothing
            was read before.
        fresh: those of each row that any other segment begins with; None: zeros.
        masked: the share of their inputs that the layers do not see, under masks of each segment's own (`read_under_masks`).
    """
    if segments is None:
        goes_on = None if positions is None else positions[:, 0] != 0
        return _read(layers, x, _starts(before, fresh, goes_on), masked)
    rows, pieces = x.shape[0], cut(segments, positions)
    kept, new = (None if states is None else tuple(s[:, pieces.rows] for s in states) for states in (before, fresh))
    starts = _starts(kept, new, pieces.goes_on)
    packed = PackedSequence(x.flatten(0, 1)[pieces.tokens], pieces.batch_sizes)
    found, after = _read(layers, packed, starts, masked)
    whole = found.data.new_zeros(rows * x.shape[1], found.data.shape[1])
    whole = whole.index_copy(0, pieces.tokens, found.data).unflatten(0, (rows, -1))
    old = before or fresh or (None,) * len(after)
    return whole, tuple(_last(state, pieces, rows, left) for state, left in zip(after, old, strict=True))


def _read(layers: nn.RNNBase, x: Any, starts: States | None, masked: float) -> tuple[Any, States]:
    """What torch's layers make of embeddings, and the states after them; torch has a single state without its tuple."""
    if masked:
        return read_under_masks(layers, x, starts, masked)
    found, after = layers(x, starts[0] if starts is not None and len(starts) == 1 else starts)
    return found, after if isinstance(after, tuple) else (after,)


def _starts(before: States | None, fresh: States | None, goes_on: Tensor | None) -> States | None:
    """What each row, or piece, starts with, [L, N, H]: the states before it where it goes on ([N] bool; None: all do)."""
    if before is None or goes_on is None:
        return fresh if before is None else before
    kept = goes_on[None, :, None]
    if fresh is None:
        return tuple(state.masked_fill(~kept, 0) for state in before)
    return tuple(torch.where(kept, state, new) for state, new in zip(before, fresh, strict=True))


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


def _last(state: Tensor, pieces: Pieces, rows: int, old: Tensor | None) -> Tensor:
    """Each row's state after its last piece, [L, B, H], of those of all pieces; a row without any keeps its old one."""
    whole = state.new_zeros(state.shape[0], rows, state.shape[2]) if old is None else old.to(state.dtype)
    return whole.index_copy(1, pieces.rows[pieces.lasts], state[:, pieces.lasts])
