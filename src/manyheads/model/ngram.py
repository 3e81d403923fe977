"""The n-gram: how often each token was seen after the few before it, counted in one pass and smoothed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads import ranks
from manyheads.batch import IGNORE, Batch
from manyheads.decoding.cache import TokenCache
from manyheads.errors import check_count
from manyheads.model.gram_counts import Keys, Packing, added_up
from manyheads.model.kneser_ney import KneserNey
from manyheads.model.places import places

LEAST = 2**20
"""n-grams that are kept as they come before they are added up."""


@final
class NGram(nn.Module):
    """Token ids to the contexts that end with each, and from them interpolated modified Kneser-Ney (`KneserNey`).

    Training counts: every label with the `order` - 1 tokens before it in its segment, or fewer at the segment's beginning. So
    what comes out depends on no order of rows, no size of batches and no number of ranks; there is nothing to minimise, and
    one pass is all. What is smoothed is made from the counts when it is first asked for.

    Args:
        vocab_size: V.
        order: n, how many tokens the longest n-grams have.

    Raises:
        UserError: for numbers out of range.
    """

    kind: ClassVar[str] = "counting"
    max_positions: ClassVar[int | None] = None
    grows: ClassVar[frozenset[str]] = frozenset({"grams", "counts"})  # with what was read
    output_weight: ClassVar[nn.Parameter | None] = None

    def __init__(self, *, vocab_size: int, order: int = 5) -> None:
        super().__init__()
        check_count("model.vocab_size", vocab_size)
        check_count("model.order", order)
        self.settings: dict[str, Any] = {"vocab_size": vocab_size, "order": order}
        self.vocab_size = vocab_size
        self.order = order
        self.dim = order - 1
        self._packing = Packing(order, vocab_size)
        self.register_buffer("grams", torch.zeros(0, self._packing.words, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))
        self.grams: Tensor
        self.counts: Tensor
        self.anchor = nn.Parameter(torch.zeros(0))  # what a strategy and an optimizer hold on to
        self._new: list[tuple[Keys, np.ndarray]] = []  # of this rank alone
        self._num_new = 0
        self._smoothed: KneserNey | None = None
        self.register_state_dict_pre_hook(_share)
        self.register_load_state_dict_pre_hook(_make_room)

    def count(self, batch: Batch) -> Tensor:
        """Counts the labels of a batch; returns a sum of losses, [], which is 0 and has a gradient."""
        ids, labels = batch["input_ids"], batch["labels"]
        learned, before = labels != IGNORE, places(batch)
        before = before.expand_as(ids)
        columns = []
        for back in range(self.order - 2, -1, -1):
            earlier = F.pad(ids, (back, 0))[:, : ids.shape[1]] + 1
            columns.append(torch.where(before >= back, earlier, 0)[learned].cpu().numpy())
        columns.append(labels[learned].cpu().numpy() + 1)
        keys = self._packing.pack(columns)
        self._new.append((keys, np.ones(len(keys), np.int64)))
        self._num_new += len(keys)
        added_up_before = len(self._new[0][0])
        if self._num_new - added_up_before > max(LEAST, added_up_before):  # so that each is sorted a few times in all
            self._add_up()
        return self.anchor.sum()

    def share(self) -> None:
        """Adds what was counted since the last call, by all ranks, to what is kept. To be called by all of them."""
        if not self._new:
            return
        self._add_up()
        device = self.grams.device
        parts = [(self.grams.cpu().numpy(), self.counts.cpu().numpy())]
        parts += ranks.gathered(self._new[0], ranks.data_parallel())
        keys, counts = added_up(np.concatenate([k for k, _ in parts]), np.concatenate([c for _, c in parts]))
        self.grams, self.counts = torch.from_numpy(keys).to(device), torch.from_numpy(counts).to(device)
        self._new, self._num_new, self._smoothed = [], 0, None

    def train(self, mode: bool = True) -> Self:
        """As of any module; before it is asked, what ranks have counted is put together."""
        if not mode:
            self.share()
        return super().train(mode)

    @property
    def num_counted(self) -> int:
        """How many numbers its probabilities are made of; 0 as long as nothing was counted."""
        return self.smoothed.num_parameters if len(self.grams) else 0

    @property
    def smoothed(self) -> KneserNey:
        """The probabilities, made anew once more was counted."""
        if self._smoothed is None or self._smoothed.device != self.grams.device:
            keys, counts = self.grams.cpu().numpy(), self.counts.cpu().numpy()
            self._smoothed = KneserNey(self.order, self.vocab_size, keys, counts, self.grams.device)
        return self._smoothed

    def new_cache(self, batch_size: int, max_len: int) -> TokenCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return TokenCache(batch_size=batch_size, max_len=max_len, kept=max(self.order - 2, 0))

    @torch.compiler.disable  # it looks things up in tables, which grow
    def forward(self, batch: Batch, cache: TokenCache | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[B, T, order - 1] int64: the known contexts of 1, 2, ... tokens that end at each position; -1 where there is none.
        With a cache the batch goes on from the tokens that it holds."""
        ids, before = batch["input_ids"], places(batch, 0 if cache is None else cache.length)
        read = ids if cache is None else cache.before(ids)
        if not len(self.grams):
            return ids.new_full((*ids.shape, self.order - 1), -1)
        found = self.smoothed.contexts(read)[:, read.shape[1] - ids.shape[1] :]
        inside = before.expand_as(ids)[..., None] >= torch.arange(self.order - 1, device=ids.device)
        return torch.where(inside, found, -1)

    def log_probabilities(self, contexts: Tensor) -> Tensor:
        """[..., V] float32 of contexts [..., order - 1]: in the place of logits, for whoever scores tokens."""
        if not len(self.grams):
            shape = (*contexts.shape[:-1], self.vocab_size)
            return contexts.new_full(shape, -math.log(self.vocab_size), dtype=torch.float32)
        return self.smoothed.log_probabilities(contexts)

    def _add_up(self) -> None:
        """Makes one list, each n-gram once, of what came since the last call of `share`."""
        keys, counts = zip(*self._new, strict=True)
        self._new = [added_up(np.concatenate(keys), np.concatenate(counts))]
        self._num_new = len(self._new[0][0])

    def make_room(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        """Before a state dict is loaded: its counts take the place of those that are there."""
        for name in self.grows:
            given = state_dict.get(f"{prefix}{name}")
            if given is not None and given.shape[1:] == getattr(self, name).shape[1:]:
                setattr(self, name, torch.zeros_like(given, device=getattr(self, name).device))
        self._new, self._num_new, self._smoothed = [], 0, None


# functions, since a bound method would come along when a copy is made of the module
def _share(network: NGram, *_: Any) -> None:
    network.share()


def _make_room(network: NGram, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
    network.make_room(state_dict, prefix)
