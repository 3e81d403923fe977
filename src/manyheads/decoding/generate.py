"""Text from a network that reads from left to right, token by token, each chosen once: batched, over prompts of any lengths, each
with a source where there is an encoder, with or without a cache."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from manyheads.decoding.constraint import Constraint, Rules
from manyheads.decoding.reader import Reader, eval_mode
from manyheads.decoding.sampling import GREEDY, Sampling
from manyheads.errors import check_count


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
    no_repeat_ngram: int = 0,
    allowed: Constraint | None = None,
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
        no_repeat_ngram=no_repeat_ngram,
        allowed=allowed,
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
    no_repeat_ngram: int = 0,
    allowed: Constraint | None = None,
    unpenalized: Collection[int] = (),
) -> Iterator[Step]:
    """The tokens of all prompts as they are chosen.

    Each prompt is preceded by the end token, as each document is in training; an empty prompt is the end token alone.
    A row's tokens do not depend on the other rows: its draws come from `seed` and its key (by default its place in
    `prompts`), never from the global random state, and its window comes from its own length. The network reads at most
    `context` tokens at once (by default its `max_positions`); of a row that grows longer, the latest three quarters of
    that many are read on, counted from position 0 again. `on_token(row, token)` hears of every token but the end token,
    and ends the row by returning True. `sources` are the tokens that an encoder reads for each prompt, as they are; an empty
    one is the end token alone. `allowed` says which tokens may come, and with `no_repeat_ngram` n none does that would make n
    tokens appear a second time in a prompt and its text; both are asked before `sampling` bends the logits. A repetition
    penalty leaves the tokens `unpenalized` as they are.

    What `network` and `head` need is in `Reader`. Both are in eval mode meanwhile, and afterwards as they were, also
    when the iterator is closed early. Raises UserError for a `max_new_tokens`, `context` or `no_repeat_ngram` out of range,
    and where a text is left no token to go on with.
    """
    check_count("max_new_tokens", max_new_tokens)
    rules = Rules(allowed=allowed, no_repeat_ngram=no_repeat_ngram)
    rows = [
        _Row(number, end_id, prompt, _generator(seed, key), unpenalized)
        for number, (prompt, key) in enumerate(zip(prompts, keys or range(len(prompts)), strict=True))
    ]
    with eval_mode(network, head):
        reader = Reader(network, head, context=context, pad=end_id, use_cache=use_cache, sources=sources)
        parents = list(range(len(rows)))
        for remaining in range(max_new_tokens, 0, -1):
            if not rows:
                return
            logits = reader.read([row.window for row in rows], parents, remaining)
            logits = rules.apply(logits, [row.prompt for row in rows], [row.new for row in rows])
            rules.check(logits, [row.new for row in rows])
            for row, token in zip(rows, _choose(sampling, logits, rows), strict=True):
                row.add(token)
                row.live = token != end_id and not (on_token and on_token(row.number, token))
                yield Step(row.number, token)
            parents = [place for place, row in enumerate(rows) if row.live]
            rows = [rows[place] for place in parents]


class _Row:
    """One text as far as it has come."""

    def __init__(
        self, number: int, end_id: int, prompt: Sequence[int], generator: torch.Generator, unpenalized: Collection[int]
    ) -> None:
        self.number = number
        self.window = [end_id, *prompt]  # what the network reads
        self.prompt = prompt
        self.new: list[int] = []
        self.generator = generator
        self.live = True
        self._unpenalized = unpenalized
        self._fresh = list(prompt)  # held tokens that are not in `_seen` yet; the end token in front is no text
        self._seen: Tensor | None = None

    def add(self, token: int) -> None:
        self.window.append(token)
        self.new.append(token)
        self._fresh.append(token)

    def seen(self, logits: Tensor) -> Tensor:
        """Which tokens the text holds, its prompt counted: [V] bool."""
        if self._seen is None:
            self._seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        fresh = [token for token in self._fresh if token not in self._unpenalized]
        self._seen[torch.tensor(fresh, dtype=torch.long, device=logits.device)] = True
        self._fresh = []
        return self._seen


def _choose(sampling: Sampling, logits: Tensor, rows: list[_Row]) -> list[int]:
    draws = None
    if not sampling.greedy:
        draws = torch.stack([torch.rand((), dtype=torch.float64, generator=row.generator) for row in rows])
    seen = torch.stack([row.seen(logits) for row in rows]) if sampling.uses_seen else None
    return sampling.choose(logits, draws, seen).tolist()


def _generator(seed: int, key: Hashable) -> torch.Generator:
    return torch.Generator().manual_seed(random.Random(f"{seed}/{key!r}").getrandbits(63))
