"""Guards rows that are read with another one's cache, source or place, where rows have several heirs or none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.decoding.beam import beam_search
from manyheads.decoding.generate import generate
from manyheads.decoding.reader import Reader, eval_mode
from manyheads.testing import scripted, tiny_network

V, END = 23, 0


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("context", [None, 4])
def test_heirs_are_read_as_if_alone(use_cache: bool, context: int | None) -> None:
    """Three rows become five, then four, then two; the network reads nothing at the wrong place, which it asserts."""
    network, head = scripted(lambda read: sum((place + 2) * token for place, token in enumerate(read)) % V, V)
    reader = Reader(network, head, context=context, pad=END, use_cache=use_cache)
    windows, parents = [[END, 1, 2], [END], [END, 5]], [0, 1, 2]
    for step, heirs in enumerate(([2, 0, 0, 1, 2], [4, 3, 2, 1], [3, 3], [0, 1])):
        found = reader.read(windows, parents, 4 - step).argmax(-1).tolist()
        alone = [
            Reader(network, head, context=context, pad=END).read([[*w]], [0], 1).argmax(-1).item() for w in windows
        ]
        assert found == alone
        parents = heirs
        windows = [[*windows[parent], 7 + place] for place, parent in enumerate(heirs)]


def test_a_decoders_cache_goes_with_its_rows() -> None:
    """Logits of heirs out of order, against those of the whole rows."""
    network, head = tiny_network(V)
    with eval_mode(network, head):
        reader = Reader(network, head, context=None, pad=END)
        reader.read([[END, 1, 2], [END, 5]], [0, 1], 3)
        found = reader.read([[END, 5, 3], [END, 1, 2, 4], [END, 5, 9]], [1, 0, 1], 2)
        for row, window in zip(found, [[END, 5, 3], [END, 1, 2, 4], [END, 5, 9]], strict=True):
            whole = Reader(network, head, context=None, pad=END, use_cache=False).read([window], [0], 1)[0]
            torch.testing.assert_close(row, whole, rtol=1e-5, atol=1e-5)


class EncoderDecoder(torch.nn.Module):
    """Says its source, token by token. Sources come with the first batch of a cache and stay with their rows."""

    max_positions = None

    def new_cache(self, batch_size: int, max_len: int) -> SourceCache:
        return SourceCache()

    def forward(self, batch: Batch, cache: SourceCache | None) -> torch.Tensor:
        cache = cache or SourceCache()
        assert ("source_ids" in batch) == (cache.rows is None)
        if cache.rows is None:
            pairs = zip(batch["source_ids"].tolist(), batch["source_segments"].tolist(), strict=True)
            cache.rows = [([t for t, real in zip(*pair, strict=True) if real], 0) for pair in pairs]
            starts = (batch["input_ids"] == END).sum(1)  # the token in front and padding
            cache.rows = [
                (s, batch["input_ids"].shape[1] - int(n)) for (s, _), n in zip(cache.rows, starts, strict=True)
            ]
        else:
            cache.rows = [(source, place + 1) for source, place in cache.rows]
        logits = torch.full((len(cache.rows), batch["input_ids"].shape[1], V), -9.0)
        for row, (source, place) in enumerate(cache.rows):
            logits[row, -1, [*source, END][min(place, len(source))]] = 0.0
        return logits


class SourceCache:
    rows: list[tuple[list[int], int]] | None = None

    def keep(self, rows: torch.Tensor) -> None:
        assert self.rows is not None
        self.rows = [self.rows[row] for row in rows.tolist()]


@pytest.mark.parametrize("use_cache", [True, False])
def test_each_row_keeps_its_source(use_cache: bool) -> None:
    """Sources of several lengths, prompts that are there in part, rows that end at different steps, windows that move on."""
    _, head = scripted(lambda read: 0, V)
    sources, prompts = [[5, 6, 7, 8], [9], [11, 12, 13]], [[], [], [1]]
    wanted = [[5, 6, 7, 8], [9], [12, 13]]
    settings: dict[str, Any] = {"sources": sources, "end_id": END, "max_new_tokens": 8, "use_cache": use_cache}
    found = beam_search(EncoderDecoder(), head, prompts, num_beams=3, **settings)
    assert [row[0].tokens for row in found] == wanted
    assert generate(EncoderDecoder(), head, prompts, **settings) == wanted
