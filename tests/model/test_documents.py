"""Guards packed documents that see each other, and numbers that are not the mask's, where documents are read one by one."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from manyheads.batch import IGNORE, Batch
from manyheads.head.next_token import NextToken
from manyheads.model import documents
from manyheads.model.decoder import Decoder
from manyheads.model.documents import attend_within, lengths_of
from manyheads.model.regions import compile_blocks

ROWS = [[5, 1, 7, 3], [9, 2, 5]]
"""Lengths of the documents in two rows of 16 positions; the last one of the first row is padding."""


def packed() -> Batch:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(20, (2, 16), generator=draw)
    labels = torch.randint(20, (2, 16), generator=draw)
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in ROWS])
    segments = torch.stack([torch.arange(1, len(row) + 1).repeat_interleave(torch.tensor(row)) for row in ROWS])
    labels[0, 13:], segments[0, 13:], positions[0, 13:] = IGNORE, 0, 0
    return Batch(input_ids=ids, labels=labels, positions=positions, segments=segments)


def each_alone(batch: Batch) -> list[Batch]:
    """The documents in rows of their own, padding left out."""
    found = []
    for row, lengths in enumerate(ROWS):
        start = 0
        for length in lengths:
            part = {name: batch[name][row : row + 1, start : start + length] for name in ("input_ids", "labels")}  # type: ignore[literal-required]
            found.append(Batch(**part))  # type: ignore[typeddict-item]
            start += length
    return [part for part in found if (part["labels"] != IGNORE).any()]


def made(dtype: torch.dtype, **settings: Any) -> tuple[Decoder, NextToken]:
    torch.manual_seed(1)
    network = Decoder(vocab_size=20, dim=32, num_layers=2, num_heads=4, init_std=0.3, **settings).to(dtype)
    return network, NextToken(dim=32, vocab_size=20, weight=network.output_weight)


def trained(network: Decoder, head: NextToken, batches: list[Batch]) -> dict[str, Tensor]:
    """The sum of losses, and the gradient of each weight."""
    network.zero_grad()
    loss = torch.stack([head(network(batch), batch).loss_sum for batch in batches]).sum()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


def read_one_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(documents, "SHORTEST_ROW", 0)
    patch.setattr(documents, "SHORTEST_DOCUMENTS", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "settings",
    [{}, {"num_kv_heads": 1}, {"num_kv_heads": 2, "qk_norm": True}, {"positions": "learned", "max_positions": 16}],
)
def test_loss_and_gradients_are_those_of_the_mask_and_of_documents_one_by_one(
    dtype: torch.dtype, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, head = made(dtype, **settings)
    batch = packed()
    monkeypatch.setattr(documents, "SHORTEST_ROW", sys.maxsize)
    masked, alone = trained(network, head, [batch]), trained(network, head, each_alone(batch))
    read_one_by_one(monkeypatch)
    asked = []
    monkeypatch.setattr(
        "manyheads.model.attention.attend_within", lambda *a, **o: asked.append(1) or attend_within(*a, **o)
    )
    found = trained(network, head, [batch])
    assert len(asked) == 2  # once in each layer
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    for name, value in found.items():
        torch.testing.assert_close(value, masked[name], rtol=tolerance, atol=tolerance * 10)
        torch.testing.assert_close(value, alone[name], rtol=tolerance, atol=tolerance * 10)


def test_padding_is_a_document_of_its_own_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    read_one_by_one(monkeypatch)
    assert lengths_of(packed()) == [*ROWS[0], *ROWS[1]]
    # a row may begin with the segment that the row before ended with
    assert lengths_of(Batch(segments=torch.tensor([[1, 1, 2], [2, 2, 0]]))) == [2, 1, 2, 1]


def test_the_mask_stays_for_short_rows_and_for_short_documents() -> None:
    """The rows of the default run are of 128 tokens."""

    def rows(width: int, length: int) -> Batch:
        return Batch(segments=(torch.arange(width) // length + 1).expand(2, width))

    assert lengths_of(rows(128, 128)) is None
    assert lengths_of(rows(511, 511)) is None
    assert lengths_of(rows(512, 512)) == [512, 512]
    assert lengths_of(rows(2048, 8)) is None
    assert lengths_of(rows(2048, 128)) == [128] * 32
    assert lengths_of(Batch(input_ids=torch.zeros(2, 2048, dtype=torch.long))) is None


@pytest.mark.parametrize(
    "settings", [{"sinks": True}, {"attention_softcap": 5.0}, {"window": 3}, {"positions": "alibi"}]
)
def test_what_needs_the_mask_has_it(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network, head = made(torch.float32, **settings)
    expected = trained(network, head, [packed()])
    read_one_by_one(monkeypatch)
    found = trained(network, head, [packed()])
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_compiled_blocks_have_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths are numbers of Python: each batch would be compiled anew."""
    read_one_by_one(monkeypatch)
    network, _ = made(torch.float32)
    assert network._contexts(packed(), None, torch.float32)[None].documents == [*ROWS[0], *ROWS[1]]
    compile_blocks(network)
    assert network._contexts(packed(), None, torch.float32)[None].documents is None


def test_dropout_takes_its_share_of_the_weights() -> None:
    """With values of 1 each position gathers the sum of its weights: 1 without dropout, 1 on the average with it. The same
    seed drops the same ones."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 4, 256, 8)
    value = torch.ones(1, 4, 256, 8)
    plain = attend_within(query, key, value, [200, 56], dropout=0.0, grouped=False)
    torch.testing.assert_close(plain, value)
    torch.manual_seed(1)
    dropped = attend_within(query, key, value, [200, 56], dropout=0.5, grouped=False)
    torch.manual_seed(1)
    assert torch.equal(dropped, attend_within(query, key, value, [200, 56], dropout=0.5, grouped=False))
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    # a document's first position has one weight, which is kept twofold or dropped
    assert {float(each) for each in dropped[0, :, [0, 200], 0].flatten()} == {0.0, 2.0}
