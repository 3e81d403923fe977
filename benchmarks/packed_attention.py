"""Ways to keep the documents of a packed row apart, beside the mask that training has: time of a step.

A step is forward and backward of the default network (4 layers of width 128) over 4,096 tokens, in rows of 128, 256, 512
and 2,048, of documents of 50 to 200 tokens. Beside the mask over whole rows: a causal call of SDPA for each document, as
training has it for long rows (`model/documents.py`); documents gathered into rows of their own, padded on the right to the
longest, in one causal call; jagged nested tensors; `varlen_attn`; and, which no training can use, `no mask`, one causal row
of all documents. A way that this torch does not do here, backward included, has a row without numbers, and it is said why.
`flex_attention`, compiled, is told for the forward pass alone: on a CPU it has no backward. Each way's states and gradients
are first held to the mask's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.base import Benchmark, Goal, interleave, say
from manyheads.batch import Batch
from manyheads.head.next_token import NextToken
from manyheads.model import documents
from manyheads.model.decoder import Decoder

TOKENS, VOCABULARY = 4096, 2048
WIDTHS = (128, 256, 512, 2048)
STEPS = 5
CAUSAL = partial(F.scaled_dot_product_attention, is_causal=True)


class Layout(NamedTuple):
    """Where the N documents of a batch [B, T] lie, its rows one after the other."""

    lengths: list[int]  # [N]
    offsets: Tensor  # [N + 1] int64
    gathered: Tensor  # [N * L] places of each document's positions, L the longest; a padded place repeats the first
    back: Tensor  # [B * T] places in `gathered`


Way = Callable[[Tensor, Tensor, Tensor, Layout], Tensor]
"""Queries, keys and values [B, H, T, K], and the layout, to what each position gathers [B, H, T, K]."""


def flat(x: Tensor) -> Tensor:
    """[B, H, T, K] -> [B * T, H, K]."""
    return x.transpose(1, 2).flatten(0, 1)


def rows(x: Tensor, like: Tensor) -> Tensor:
    """[B * T, H, K] -> [B, H, T, K]."""
    return x.view(like.shape[0], like.shape[2], *x.shape[1:]).transpose(1, 2)


def no_mask(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Wrong: documents see each other."""
    return CAUSAL(query, key, value)


def each_document(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """A call for each."""
    parts = [flat(x).split(layout.lengths) for x in (query, key, value)]
    mixed = [CAUSAL(*(part.transpose(0, 1)[None] for part in parts))[0] for parts in zip(*parts, strict=True)]
    return rows(torch.cat(mixed, 1).transpose(0, 1), query)


def gathered(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """One call; what stands behind a document in its row is seen by nothing that counts."""
    shape = (len(layout.lengths), -1, query.shape[1], query.shape[3])
    each = [flat(x).index_select(0, layout.gathered).view(shape).transpose(1, 2) for x in (query, key, value)]
    return rows(flat(CAUSAL(*each)).index_select(0, layout.back), query)


def nested(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Jagged tensors."""
    jagged = torch.nested.nested_tensor_from_jagged
    mixed = CAUSAL(*(jagged(flat(x), layout.offsets).transpose(1, 2) for x in (query, key, value)))
    return rows(mixed.transpose(1, 2).values(), query)


def varlen(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """torch's attention over lengths that vary."""
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = layout.offsets.int(), max(layout.lengths)
    mixed = varlen_attn(flat(query), flat(key), flat(value), ends, ends, longest, longest, window_size=(-1, 0))
    assert isinstance(mixed, Tensor)
    return rows(mixed, query)


WAYS: dict[str, Way] = {"each document": each_document, "gathered": gathered, "nested": nested, "varlen_attn": varlen}


def batch_of(width: int) -> tuple[Batch, list[int]]:
    """4,096 tokens in full rows, and the lengths of their documents."""
    draw = torch.Generator().manual_seed(width)
    lengths: list[int] = []
    for _ in range(TOKENS // width):
        left = width
        while left:
            length = min(int(torch.randint(50, 201, (), generator=draw)), left)
            lengths.append(length)
            left -= length
    ids = torch.randint(VOCABULARY, (TOKENS // width, width), generator=draw)
    positions = torch.cat([torch.arange(length) for length in lengths]).view_as(ids)
    segments = (positions == 0).cumsum(1)
    return Batch(input_ids=ids, labels=ids.roll(-1, 1), positions=positions, segments=segments), lengths


def layout_of(lengths: list[int]) -> Layout:
    """Made once for a batch, as a mask is."""
    sizes = torch.tensor(lengths)
    offsets = F.pad(sizes.cumsum(0), (1, 0))
    places = torch.arange(max(lengths))
    real = places < sizes[:, None]  # [N, L]
    return Layout(lengths, offsets, (offsets[:-1, None] + places * real).flatten(), real.flatten().nonzero()[:, 0])


def step(network: Decoder, head: NextToken, batch: Batch, lengths: list[int], way: Way | None) -> tuple[float, Tensor]:
    """Seconds of a forward and a backward pass, and the hidden states; None: with the mask."""
    network.zero_grad()
    shortest, documents.SHORTEST_ROW = documents.SHORTEST_ROW, sys.maxsize
    started = time.perf_counter()
    seen = batch
    if way is not None:
        layout = layout_of(lengths)
        seen = Batch(**{key: value for key, value in batch.items() if key != "segments"})  # type: ignore[typeddict-item]
        for block in network.blocks:
            block.attention._mix = lambda query, key, value, *_: way(query, key, value, layout)  # type: ignore
    try:
        hidden = network(seen)
        head(hidden, batch).loss_sum.backward()
    finally:
        documents.SHORTEST_ROW = shortest
        for block in network.blocks:
            block.attention.__dict__.pop("_mix", None)
    return time.perf_counter() - started, hidden.detach()


def networks() -> tuple[Decoder, NextToken]:
    """The default network and its head."""
    torch.manual_seed(1)
    network = Decoder(vocab_size=VOCABULARY, dim=128, num_layers=4, num_heads=2)
    return network, NextToken(dim=128, vocab_size=VOCABULARY, weight=network.output_weight)


def refusal(way: Way) -> str | None:
    """Why this torch does not do it here; None: it does, and its states and gradients are those of the mask."""
    network, head = networks()
    batch, lengths = batch_of(WIDTHS[0])
    _, expected = step(network, head, batch, lengths, None)
    gradient = network.embedding.weight.grad
    try:
        _, found = step(network, head, batch, lengths, way)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return str(error).strip().partition(". ")[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.embedding.weight.grad, gradient, rtol=1e-3, atol=1e-2)
    return None


def flex(rounds: int, width: int) -> list[float]:
    """Time of attention's forward pass alone through compiled `flex_attention`, over that of SDPA with the mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    from manyheads.model.attention import attention_mask

    batch, _ = batch_of(width)
    segments = batch["segments"]
    query, key, value = (torch.randn(TOKENS // width, 2, width, 64) for _ in range(3))

    def seen(row: Any, head: Any, one: Any, other: Any) -> Any:
        return (one >= other) & (segments[row, one] == segments[row, other])

    compiled = torch.compile(flex_attention)
    blocks = create_block_mask(seen, len(segments), None, width, width, device="cpu")
    mask, _ = attention_mask(batch, None, torch.float32)

    def timed(run: Callable[[], Tensor]) -> float:
        started = time.perf_counter()
        for _ in range(STEPS):
            run()
        return time.perf_counter() - started

    with torch.inference_mode():
        plain = partial(F.scaled_dot_product_attention, query, key, value, attn_mask=mask)
        ours = partial(compiled, query, key, value, block_mask=blocks)
        torch.testing.assert_close(ours(), plain(), rtol=1e-4, atol=1e-4)
        times = interleave(rounds, partial(timed, plain), partial(timed, ours))
    return [other / own for own, other in times]


def measure(rounds: int) -> dict[str, list[float]]:
    """Each way's time over the mask's."""
    found: dict[str, list[float]] = {}
    refused = {name: refusal(way) for name, way in WAYS.items()}
    for name, why in refused.items():
        if why is not None:
            say(f"{name}: {why}")
    network, head = networks()
    ways: dict[str, Way | None] = {"mask": None, "no mask": no_mask}
    ways |= {name: way for name, way in WAYS.items() if refused[name] is None}
    for width in WIDTHS:
        batch, lengths = batch_of(width)

        def once(way: Way | None, batch: Batch = batch, lengths: list[int] = lengths) -> float:
            return sum(step(network, head, batch, lengths, way)[0] for _ in range(STEPS))

        times = interleave(rounds, *(partial(once, way) for way in ways.values()))
        for i, name in enumerate(ways):
            found[f"{name}_{width}"] = [each[i] / each[0] for each in times]
        found[f"flex_{width}"] = flex(rounds, width)
    return {key: found.get(key, []) for key in GOALS}


GOALS = {
    f"{name}_{width}": Goal(f"{name}, rows of {width}: time of a step", direction="at most")
    for width in WIDTHS
    for name in ("no mask", *WAYS)
} | {
    f"flex_{width}": Goal(f"flex_attention, rows of {width}: forward of attention alone", direction="at most")
    for width in WIDTHS
}

BENCHMARK = Benchmark(
    name="packed_attention", peer="the mask, documents of 50 to 200 tokens", measure=measure, goals=GOALS
)

if __name__ == "__main__":
    BENCHMARK.main()
