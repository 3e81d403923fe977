"""What a network says of the token that follows each row: rows of any lengths, with or without a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError, check_count

KEEP = 0.75  # the part of a full window that is read on; the rest is room for new tokens before it must be read again


class Reader:
    """Logits of the next token of each row, through a cache where one is wanted and still has room.

    Args:
        network: needs `max_positions`, `new_cache(batch_size, max_len)` and `network(batch, cache) -> [B, T, D]`, its cache
            `keep(rows)`. One that has `for_decoding()` is read through what that gives.
        head: needs `logits([B, D]) -> [B, V]`.
        context: the most tokens that are read at once; None for as many as the network has positions.
        pad: the token on padding.
        sources: what an encoder reads for each row of the first `read`; an empty one is `pad` alone.

    Raises UserError for a `context` out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        *,
        context: int | None,
        pad: int,
        use_cache: bool = True,
        sources: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.limit, self.pad, self.use_cache = _limit(network, context), pad, use_cache
        self.network: Callable[[Batch, Any], Tensor] = getattr(network, "for_decoding", lambda: network)()
        self.logits = cast(Callable[[Tensor], Tensor], head.logits)
        self.new_cache = cast(Callable[[int, int], Any], network.new_cache)
        self.device = next((p.device for p in network.parameters()), torch.device("cpu"))
        self.sources = sources
        self.cache: Any = None
        self.num_rows = 0  # of the last `read`
        self.room = 0  # tokens that the cache can still take
        self.length = 0  # positions that the cache holds, padding included

    @torch.inference_mode()
    def read(self, windows: Sequence[list[int]], parents: Sequence[int], remaining: int) -> Tensor:
        """[B, V], what may follow each window, when at most `remaining` tokens are still to come.

        `parents` are the rows of the last call that the windows come from, each one token longer than that; a row may have
        several heirs or none. At the first call they are 0..B-1. A window that is longer than the limit loses its
        beginning, in place: the latest three quarters of the limit stay.
        """
        if self.num_rows and list(parents) != list(range(self.num_rows)):
            self._keep(parents)
        self.num_rows = len(windows)
        if self.room == 0:
            return self.logits(self._read_windows(windows, remaining))
        hidden = self.network(self._next_tokens(windows), self.cache)[:, -1]
        self.room, self.length = self.room - 1, self.length + 1
        return self.logits(hidden)

    def _keep(self, parents: Sequence[int]) -> None:
        if self.sources is not None:
            self.sources = [self.sources[parent] for parent in parents]
        if self.room:
            self.cache.keep(self._tensor(parents))

    def _next_tokens(self, windows: Sequence[list[int]]) -> Batch:
        """Each row's newest token."""
        ids = self._tensor([[window[-1]] for window in windows])
        if all(len(window) == self.length + 1 for window in windows):
            return Batch(input_ids=ids)  # no row was padded, so that the cache knows the positions
        return Batch(input_ids=ids, positions=self._tensor([[len(window) - 1] for window in windows]))

    def _read_windows(self, windows: Sequence[list[int]], remaining: int) -> Tensor:
        for window in windows:
            if self.limit is not None and len(window) > self.limit:
                del window[: -max(1, int(self.limit * KEEP))]
        longest = max(map(len, windows))
        if self.use_cache:
            size = min(longest + remaining - 1, self.limit or longest + remaining)
            self.cache, self.room, self.length = self.new_cache(len(windows), size), size - longest, longest
        return self.network(self._left_padded(windows, longest) | self._source_batch(), self.cache)[:, -1]

    def _left_padded(self, windows: Sequence[list[int]], longest: int) -> Batch:
        pads = [longest - len(window) for window in windows]
        ids = self._tensor([[self.pad] * pad + window for pad, window in zip(pads, windows, strict=True)])
        if not any(pads):
            return Batch(input_ids=ids)
        places = torch.arange(longest, device=self.device) - self._tensor(pads)[:, None]  # [B, T], below 0 on padding
        return Batch(input_ids=ids, positions=places.clamp(min=0), segments=(places >= 0).long())

    def _source_batch(self) -> Batch:
        """The sources padded on the right; nothing where there are none."""
        if self.sources is None:
            return Batch()
        sources = [list(source) or [self.pad] for source in self.sources]
        longest = max(map(len, sources))
        ids = self._tensor([source + [self.pad] * (longest - len(source)) for source in sources])
        real = torch.arange(longest, device=self.device) < self._tensor([len(source) for source in sources])[:, None]
        return Batch(source_ids=ids, source_segments=real.long())

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _limit(network: nn.Module, context: int | None) -> int | None:
    most = network.max_positions
    assert most is None or isinstance(most, int)
    if context is None:
        return most
    check_count("context", context)
    if most is not None and context > most:
        raise UserError(f"context={context}: the network has {most} positions; set at most {most}.")
    return context


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Modules in eval mode meanwhile; each of their parts is then as it was."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
