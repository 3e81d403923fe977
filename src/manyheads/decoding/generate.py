"""Text from a network that reads from left to right, token by token: batched, over prompts of any lengths, each with a source
where there is an encoder, with or without a cache."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.sampling import GREEDY, Sampling
from manyheads.errors import UserError, check_count

KEEP = 0.75  # the part of a full window that is read on; the rest is room for new tokens before it must be read again


class Step(NamedTuple):
    """One new token of one prompt; `token` is the end id where the text ends."""

    row: int
    token: int


def generate(
    network: nn.Module,
    head: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    end_id: int,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    seed: int = 0,
    keys: Sequence[Hashable] | None = None,
    context: int | None = None,
    use_cache: bool = True,
    on_token: Callable[[int, int], bool | None] | None = None,
    sources: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt, in the prompts' order; the end token ends a row and is not in it. See `steps`."""
    rows: list[list[int]] = [[] for _ in prompts]
    for row, token in steps(
        network,
        head,
        prompts,
        end_id=end_id,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        seed=seed,
        keys=keys,
        context=context,
        use_cache=use_cache,
        on_token=on_token,
        sources=sources,
    ):
        if token != end_id:
            rows[row].append(token)
    return rows


def steps(
    network: nn.Module,
    head: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    end_id: int,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    seed: int = 0,
    keys: Sequence[Hashable] | None = None,
    context: int | None = None,
    use_cache: bool = True,
    on_token: Callable[[int, int], bool | None] | None = None,
    sources: Sequence[Sequence[int]] | None = None,
) -> Iterator[Step]:
    """The tokens of all prompts as they are chosen.

    Each prompt is preceded by the end token, as each document is in training; an empty prompt is the end token alone.
    A row's tokens do not depend on the other rows: its draws come from `seed` and its key (by default its place in
    `prompts`), never from the global random state, and its window comes from its own length. The network reads at most
    `context` tokens at once (by default its `max_positions`); of a row that grows longer, the latest three quarters of
    that many are read on, counted from position 0 again. `on_token(row, token)` hears of every token but the end token,
    and ends the row by returning True. `sources` are the tokens that an encoder reads for each prompt, as they are; an empty
    one is the end token alone.

    `network` needs `max_positions`, `new_cache(batch_size, max_len)` and `network(batch, cache) -> [B, T, D]`; its cache
    `keep(rows)`, which drops the rows that have ended; `head` needs `logits([B, D]) -> [B, V]`. A network that has
    `for_decoding()` is read through what that gives. Both are in eval mode meanwhile, and afterwards as they were, also
    when the iterator is closed early. Raises UserError for a `max_new_tokens` or `context` out of range.
    """
    check_count("max_new_tokens", max_new_tokens)
    limit = _limit(network, context)
    rows = [
        _Row(number, [end_id, *prompt], _generator(seed, key), source)
        for number, (prompt, key, source) in enumerate(
            zip(prompts, keys or range(len(prompts)), sources or [None] * len(prompts), strict=True)
        )
    ]
    with eval_mode(network, head):
        reader = _Reader(network, head, limit, end_id, use_cache)
        for remaining in range(max_new_tokens, 0, -1):
            if not rows:
                return
            logits = reader.read(rows, remaining)
            for row, token in zip(rows, _choose(sampling, logits, rows), strict=True):
                row.add(token)
                row.live = token != end_id and not (on_token and on_token(row.number, token))
                yield Step(row.number, token)
            rows = [row for row in rows if row.live]


class _Row:
    """One text as far as it has come."""

    def __init__(
        self, number: int, window: list[int], generator: torch.Generator, source: Sequence[int] | None = None
    ) -> None:
        self.number = number
        self.source = source  # what an encoder reads
        self.window = window  # what the network reads, the end token in front included
        self.generator = generator
        self.live = True
        self._fresh = window[1:]  # held tokens that are not in `_seen` yet; the end token in front is no text
        self._seen: Tensor | None = None

    def add(self, token: int) -> None:
        self.window.append(token)
        self._fresh.append(token)

    def seen(self, logits: Tensor) -> Tensor:
        """Which tokens the text holds, its prompt counted: [V] bool."""
        if self._seen is None:
            self._seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        self._seen[torch.tensor(self._fresh, dtype=torch.long, device=logits.device)] = True
        self._fresh = []
        return self._seen


class _Reader:
    """Logits of the next token of each row, through a cache where one is wanted and still has room."""

    def __init__(self, network: nn.Module, head: nn.Module, limit: int | None, pad: int, use_cache: bool) -> None:
        self.limit, self.pad, self.use_cache = limit, pad, use_cache
        self.network: Callable[[Batch, Any], Tensor] = getattr(network, "for_decoding", lambda: network)()
        self.logits = cast(Callable[[Tensor], Tensor], head.logits)
        self.new_cache = cast(Callable[[int, int], Any], network.new_cache)
        self.device = next((p.device for p in network.parameters()), torch.device("cpu"))
        self.cache: Any = None
        self.cached: list[_Row] = []  # the cache's rows
        self.room = 0
        self.length = 0  # positions that the cache holds, padding included

    @torch.inference_mode()
    def read(self, rows: list[_Row], remaining: int) -> Tensor:
        """[B, V] for `rows`, which may be fewer than at the last call, when at most `remaining` tokens are still to come."""
        if self.room == 0:
            hidden = self._read_windows(rows, remaining)
            return self.logits(hidden)
        if len(rows) < len(self.cached):
            self.cache.keep(self._tensor([i for i, row in enumerate(self.cached) if row.live]))
            self.cached = rows
        hidden = self.network(self._next_tokens(rows), self.cache)[:, -1]
        self.room, self.length = self.room - 1, self.length + 1
        return self.logits(hidden)

    def _next_tokens(self, rows: list[_Row]) -> Batch:
        """Each row's newest token."""
        ids = self._tensor([[row.window[-1]] for row in rows])
        if all(len(row.window) == self.length + 1 for row in rows):
            return Batch(input_ids=ids)  # no row was padded, so that the cache knows the positions
        return Batch(input_ids=ids, positions=self._tensor([[len(row.window) - 1] for row in rows]))

    def _read_windows(self, rows: list[_Row], remaining: int) -> Tensor:
        for row in rows:
            if self.limit is not None and len(row.window) > self.limit:
                del row.window[: -max(1, int(self.limit * KEEP))]
        longest = max(len(row.window) for row in rows)
        if self.use_cache:
            size = min(longest + remaining - 1, self.limit or longest + remaining)
            self.cache, self.cached, self.room = self.new_cache(len(rows), size), rows, size - longest
            self.length = longest
        batch = self._left_padded([row.window for row in rows], longest)
        return self.network(batch | self._sources([row.source for row in rows]), self.cache)[:, -1]

    def _left_padded(self, windows: list[list[int]], longest: int) -> Batch:
        pads = [longest - len(window) for window in windows]
        ids = self._tensor([[self.pad] * pad + window for pad, window in zip(pads, windows, strict=True)])
        if not any(pads):
            return Batch(input_ids=ids)
        places = torch.arange(longest, device=self.device) - self._tensor(pads)[:, None]  # [B, T], below 0 on padding
        return Batch(input_ids=ids, positions=places.clamp(min=0), segments=(places >= 0).long())

    def _sources(self, sources: list[Sequence[int] | None]) -> Batch:
        """The sources padded on the right; nothing where there are none."""
        known = [list(source) or [self.pad] for source in sources if source is not None]
        if not known:
            return Batch()
        longest = max(map(len, known))
        ids = self._tensor([source + [self.pad] * (longest - len(source)) for source in known])
        lengths = self._tensor([len(source) for source in known])
        return Batch(
            source_ids=ids, source_segments=(torch.arange(longest, device=self.device) < lengths[:, None]).long()
        )

    def _tensor(self, values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _choose(sampling: Sampling, logits: Tensor, rows: list[_Row]) -> list[int]:
    draws = None
    if not sampling.greedy:
        draws = torch.stack([torch.rand((), dtype=torch.float64, generator=row.generator) for row in rows])
    seen = torch.stack([row.seen(logits) for row in rows]) if sampling.uses_seen else None
    return sampling.choose(logits, draws, seen).tolist()


def _limit(network: nn.Module, context: int | None) -> int | None:
    most = network.max_positions
    assert most is None or isinstance(most, int)
    if context is None:
        return most
    check_count("context", context)
    if most is not None and context > most:
        raise UserError(f"context={context}: the network has {most} positions; set at most {most}.")
    return context


def _generator(seed: int, key: Hashable) -> torch.Generator:
    return torch.Generator().manual_seed(random.Random(f"{seed}/{key!r}").getrandbits(63))


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
