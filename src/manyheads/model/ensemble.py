"""Several trained networks, each with its head, as one: what they say on average."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.head.label import Label
from manyheads.head.next_token import NextToken
from manyheads.head.token import wide


class EnsembleCache:
    """What each member keeps of what was read."""

    def __init__(self, caches: Sequence[Any]) -> None:
        self.caches = list(caches)

    @property
    def num_bytes(self) -> int:
        """The room that they take."""
        return sum(cache.num_bytes for cache in self.caches)

    def keep(self, rows: Tensor) -> None:
        """The rows at these places, [N] int64, in their order."""
        for cache in self.caches:
            cache.keep(rows)


@final
class Ensemble(nn.Module):
    """Reads a batch with every member. Their states stand side by side, and `head()` makes of them the mean of the
    probabilities that the members' own heads give (Hansen and Salamon, "Neural Network Ensembles", 1990; for each next token
    of a translation, Sutskever et al. 2014, section 3.6). It is for scoring and writing, and nothing trains it.

    Args:
        networks: the members; under next-token heads of one kind, or causal ones and such as count.
        heads: the head of each, all next-token or all label heads with the same classes.

    Raises:
        UserError: for members that cannot be averaged.
    """

    output_weight: ClassVar[nn.Parameter | None] = None

    def __init__(self, networks: Sequence[nn.Module], heads: Sequence[Head]) -> None:
        super().__init__()
        _check(networks, heads)
        self.networks, self.heads = nn.ModuleList(networks), nn.ModuleList(heads)
        kinds = [str(network.kind) for network in networks]
        self.kind = next((kind for kind in kinds if kind != "counting"), kinds[0])
        limits = [cast("int | None", network.max_positions) for network in networks]
        self.max_positions = min((limit for limit in limits if limit is not None), default=None)
        self._sizes = [cast(int, network.dim) for network in networks]
        self.dim = sum(self._sizes)
        self._counted = [str(network.kind) == "counting" for network in networks]  # whose states are whole numbers

    def new_cache(self, batch_size: int, max_len: int) -> EnsembleCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return EnsembleCache([cast(Any, network).new_cache(batch_size, max_len) for network in self.networks])

    def forward(self, batch: Batch, cache: EnsembleCache | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[B, T, the sum of the members' widths]."""
        return self._read(list(self.networks), batch, cache)

    def for_decoding(self) -> Callable[[Batch, EnsembleCache | None], Tensor]:
        """The members as each is read token by token."""
        readers = [getattr(network, "for_decoding", lambda network=network: network)() for network in self.networks]
        return lambda batch, cache: self._read(readers, batch, cache)

    def _read(self, readers: Sequence[Callable[..., Tensor]], batch: Batch, cache: EnsembleCache | None) -> Tensor:
        if cache is None:
            states = [reader(batch) for reader in readers]
        else:
            states = [reader(batch, kept) for reader, kept in zip(readers, cache.caches, strict=True)]
        if any(self._counted):
            states = [
                state.double() for state in states
            ]  # it holds float32, and whole numbers below 2**53, as they are
        return torch.cat(states, -1)

    def head(self) -> Head:
        """The head that averages."""
        first = self.heads[0]
        if isinstance(first, Label):
            return Label(dim=self.dim, labels=first.labels, several=first.several, table=self.class_logits)
        assert isinstance(first, NextToken)
        return NextToken(dim=self.dim, vocab_size=first.vocab_size, table=self.log_probabilities)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """[..., V], the log of the mean of the members' probabilities, from states [..., D]."""
        each = [wide(cast(NextToken, head).logits(part)).log_softmax(-1) for head, part in self._members(hidden)]
        return _log_mean(torch.stack(each))

    def class_logits(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, C], the log of the mean of the members' probabilities; with several labels, its log odds."""
        each = torch.stack([cast(Label, head).class_logits(part, batch) for head, part in self._members(hidden)])
        if not cast(Label, self.heads[0]).several:
            return _log_mean(each.log_softmax(-1))
        # the log odds of a mean: both of its sides are means of the members' own
        return _log_mean(nn.functional.logsigmoid(each)) - _log_mean(nn.functional.logsigmoid(-each))

    def _members(self, hidden: Tensor) -> list[tuple[Head, Tensor]]:
        """Each head with the states of its network, in their own precision."""
        parts = hidden.split(self._sizes, -1)
        found: list[tuple[Head, Tensor]] = []
        for head, part, counted in zip(self.heads, parts, self._counted, strict=True):
            kind = torch.int64 if counted else next((p.dtype for p in head.parameters()), part.dtype)
            found.append((cast(Head, head), part.to(kind) if any(self._counted) else part))
        return found


def _check(networks: Sequence[nn.Module], heads: Sequence[Head]) -> None:
    """Raises UserError for members that cannot be averaged."""
    names = {type(head).__name__ for head in heads}
    if unfit := sorted(names - {"NextToken", "Label"}):
        raise UserError(
            f"ensemble: a {unfit[0]} head has nothing that could be averaged here. Runs of head=next_token or head=label have."
        )
    if len(names) > 1:
        raise UserError(f"ensemble: one run has a {min(names)} head and another a {max(names)} head. Name runs of one.")
    kinds = {str(network.kind) for network in networks}
    if names == {"NextToken"} and len(kinds - {"counting"} if "causal" in kinds else kinds) > 1:
        raise UserError(
            f"ensemble: the networks are {' and '.join(sorted(kinds))}, which read rows of different forms."
        )
    labels = [(head.labels, head.several) for head in heads if isinstance(head, Label)]
    for one in labels[1:]:
        if one != labels[0]:
            raise UserError(
                f"ensemble: one run tells {', '.join(labels[0][0])}, another {', '.join(one[0])}. Name runs of one data."
            )


def _log_mean(each: Tensor) -> Tensor:
    """The log of the mean over the first dimension, of logs."""
    return each.logsumexp(0) - math.log(len(each))
