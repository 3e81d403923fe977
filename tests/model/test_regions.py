"""Guards: a block that is computed anew with other dropout, a compiled name in a checkpoint, compiling without end."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.encoder import Encoder
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.lstm import LSTM
from manyheads.model.regions import check_blocks, compile_blocks, is_compiled, recompute_blocks, repeated_blocks


def make(**settings: Any) -> tuple[Decoder, NextToken]:
    torch.manual_seed(0)
    network = Decoder(**{"vocab_size": 40, "dim": 16, "num_layers": 4, "num_heads": 4, "init_std": 0.3, **settings})
    return network, NextToken(dim=16, vocab_size=40, weight=network.output_weight)


def batch(rows: int = 3, width: int = 12, packed: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(rows * width)
    ids = torch.randint(40, (rows, width), generator=generator)
    made = Batch(input_ids=ids, labels=ids.roll(-1, 1))
    if packed:
        segments = (torch.arange(width) >= width // 2).long().expand(rows, -1) + 1
        made |= {"segments": segments, "positions": torch.arange(width).remainder(width // 2).expand(rows, -1)}
    return made


def gradients(network: nn.Module, head: nn.Module, data: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    network.zero_grad(), head.zero_grad()
    torch.manual_seed(7)
    loss = head(network(data), data).loss_sum
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_gradients_are_the_same_to_the_bit_with_dropout(every: int, packed: bool) -> None:
    """Other draws of dropout in the second computation would change every gradient."""
    network, head = make(dropout=0.3)
    loss, expected = gradients(network, head, batch(packed=packed))
    recompute_blocks(network, every)
    again, found = gradients(network, head, batch(packed=packed))
    assert torch.equal(loss, again)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("every", [1, 2])
def test_a_mixtures_balance_counts_once(every: int) -> None:
    """A layer that is computed anew must not hand in its router's logits twice, nor those of the second computation."""
    network, head = make(num_experts=4, router_z_loss=0.1, dropout=0.3)
    loss, expected = objective_gradients(network, head)
    recompute_blocks(network, every)
    again, found = objective_gradients(network, head)
    assert torch.equal(loss, again)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def objective_gradients(network: Decoder, head: NextToken) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Those of all that training minimises, the network's own losses among it."""
    network.zero_grad(), head.zero_grad()
    torch.manual_seed(7)
    total = head.objective(network(batch()), batch()).total
    auxiliary = network.auxiliary_losses(batch())
    assert auxiliary is not None
    total = total + auxiliary.total
    total.backward()
    return total.detach(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_a_cache_with_gradients_takes_each_token_once() -> None:
    """A second computation would write its keys after those of the last token."""
    network, head = make()
    losses = []
    for _ in range(2):
        cache = network.new_cache(3, 12)
        parts = [network({"input_ids": ids}, cache) for ids in batch()["input_ids"].split(4, 1)]
        losses.append(head(torch.cat(parts, 1), batch()).loss_sum)
        recompute_blocks(network, 1) if not losses[1:] else None
    assert torch.equal(*losses)
    calls: list[int] = []
    network.blocks[0].feed_forward.register_forward_pre_hook(lambda *_: calls.append(0))  # type: ignore[union-attr]
    cache = network.new_cache(3, 12)
    network({"input_ids": batch()["input_ids"]}, cache).sum()
    assert (calls, cache.length) == ([0], 12)


def test_every_nth_block_runs_twice_and_the_others_once() -> None:
    network, head = make()
    calls: list[int] = []
    for layer, block in enumerate(network.blocks):
        block.feed_forward.register_forward_pre_hook(lambda *_, layer=layer: calls.append(layer))  # type: ignore
    recompute_blocks(network, 2)
    gradients(network, head, batch())
    assert [calls.count(layer) for layer in range(4)] == [1, 2, 1, 2]
    calls.clear()
    with torch.no_grad():
        network(batch())
    assert calls == [0, 1, 2, 3]


def test_names_copies_and_decoding_stay() -> None:
    """A copy, as weight averaging makes one, computes with its own weights; a cache takes each token once."""
    network, _ = make()
    names = list(network.state_dict())
    with torch.no_grad():
        whole = network(batch())
    recompute_blocks(network, 1)
    assert list(network.state_dict()) == names
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.blocks.parameters():
            parameter.zero_()
        cache = network.new_cache(3, 12)
        parts = [network({"input_ids": ids}, cache) for ids in batch()["input_ids"].split(4, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    # blocks of zeros add nothing; those of the original would
    torch.testing.assert_close(other(batch()), other.final_norm(other.embedding(batch()["input_ids"])))


def test_a_network_that_names_no_blocks() -> None:
    network = nn.Linear(2, 2)
    assert repeated_blocks(network) == []
    check_blocks(network, None, compiled=True)
    compile_blocks(network)
    assert is_compiled(network)


def test_each_block_is_compiled_and_nothing_else() -> None:
    network, _ = make()
    assert not is_compiled(network)
    compile_blocks(network)
    compiled = [name for name, part in network.named_modules() if part._compiled_call_impl is not None]
    assert compiled == [f"blocks.{layer}" for layer in range(4)]
    assert is_compiled(network)


def compile_with(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: plain(self, backend=backend))


def test_layers_share_code_and_short_batches_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What dynamo hands to a backend is counted: 4 layers are one graph, a second size one more for all sizes after it."""
    torch._dynamo.reset()
    graphs: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_with(monkeypatch, count)
    network, head = make()
    expected = [network(batch(rows)).detach() for rows in (8, 5, 3, 7, 2)]
    compile_blocks(network)
    seen = []
    for rows, plain in zip((8, 5, 3, 7, 2), expected, strict=True):
        hidden = network(batch(rows))
        head(hidden, batch(rows)).loss_sum.backward()
        torch.testing.assert_close(hidden.detach(), plain)
        seen.append(len(graphs))
    assert seen == [1, 2, 2, 2, 2]
    torch._dynamo.reset()


@pytest.mark.slow
def test_a_runs_mix_of_batches_is_compiled_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and scoring, packed and whole, rows and widths that change: a second round of them compiles nothing, and
    torch's limit, past which it would quietly compile no more, is not met."""
    torch._dynamo.reset()
    graphs: list[Any] = []
    compile_with(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph.forward)
    network, head = make(dropout=0.1)
    compile_blocks(network)
    seen = []
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for _ in range(2):
            for training in (True, False):
                network.train(training)
                for rows, width, packed in [(8, 12, True), (8, 12, False), (5, 12, True), (3, 8, True), (4, 10, False)]:
                    with torch.set_grad_enabled(training):
                        head(network(batch(rows, width, packed)), batch(rows, width))
            seen.append(len(graphs))
    assert seen[0] == seen[1] > 0
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("network", "every", "text"),
    [
        (nn.Linear(1, 1), 2, "activation_checkpointing=2: Linear names no blocks. Set activation_checkpointing=null."),
        (make()[0], 5, "activation_checkpointing=5: Decoder has 4 blocks. Set activation_checkpointing=1."),
        (
            make(num_experts=4)[0],
            2,
            "compile=true activation_checkpointing=2: with model.num_experts torch cannot do both. "
            "Set compile=false or activation_checkpointing=null.",
        ),
    ],
)
def test_what_cannot_be_done_is_named(network: nn.Module, every: int, text: str) -> None:
    with pytest.raises(UserError) as told:
        check_blocks(network, every, compiled=True)
    assert str(told.value) == text


def test_experts_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of positions that change in each step compile nothing anew."""
    torch._dynamo.reset()
    graphs: list[Any] = []
    compile_with(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph.forward)
    network, _ = make(num_experts=4)
    expected = [network(batch(rows)).detach() for rows in (8, 5, 3, 7)]
    compile_blocks(network)
    seen = []
    for rows, plain in zip((8, 5, 3, 7), expected, strict=True):
        torch.testing.assert_close(network(batch(rows)).detach(), plain)
        seen.append(len(graphs))
    assert seen[1] == seen[2] == seen[3]
    check_blocks(network, None, compiled=True)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize("packed", [False, True])
def test_the_real_compiler_gives_the_same_numbers(every: int | None, packed: bool) -> None:
    """Loss and gradients of inductor's own kernels against eager ones, with recomputed blocks and without."""
    torch._dynamo.reset()
    network, head = make(num_layers=2)
    loss, expected = gradients(network, head, batch(packed=packed))
    if every:
        recompute_blocks(network, every)
    compile_blocks(network)
    again, found = gradients(network, head, batch(packed=packed))
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-5)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()


def make_pair(**settings: Any) -> tuple[EncoderDecoder, NextToken]:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 40, "dim": 16, "num_encoder_layers": 2, "num_layers": 2, "num_heads": 4}
    network = EncoderDecoder(**shape, init_std=0.3, **settings)
    return network, NextToken(dim=16, vocab_size=40, weight=network.output_weight)


def pairs(rows: int = 3, packed: bool = False) -> Batch:
    segments = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6]).repeat(3, 1)[:rows]
    return batch(rows, packed=packed) | Batch(
        source_ids=torch.arange(7 * rows).view(rows, 7) % 40, source_segments=segments
    )


@pytest.mark.parametrize("every", [1, 2])
def test_both_halves_of_an_encoder_decoder_are_recomputed(every: int) -> None:
    """With dropout, to the bit: gradients reach the encoder through blocks that are computed anew."""
    network, head = make_pair(dropout=0.3)
    assert repeated_blocks(network) == [*network.blocks, *network.encoder.blocks]
    loss, expected = gradients(network, head, pairs())
    recompute_blocks(network, every)
    again, found = gradients(network, head, pairs())
    assert torch.equal(loss, again)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(name.startswith("encoder.") for name in found)


@pytest.mark.slow
def test_both_halves_of_an_encoder_decoder_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph for each half, and one more of each for all numbers of rows after the first."""
    torch._dynamo.reset()
    graphs: list[Any] = []
    compile_with(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph.forward)
    network, _ = make_pair()
    expected = [network(pairs(rows)).detach() for rows in (8, 5, 3, 7)]
    compile_blocks(network)
    seen = []
    for rows, plain in zip((8, 5, 3, 7), expected, strict=True):
        torch.testing.assert_close(network(pairs(rows)).detach(), plain)
        seen.append(len(graphs))
    assert seen == [2, 4, 4, 4]
    torch._dynamo.reset()


def test_the_blocks_of_an_encoder_are_recomputed_and_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = Encoder(vocab_size=40, dim=16, num_layers=4, num_heads=4, init_std=0.3, dropout=0.3)
    head = NextToken(dim=16, vocab_size=40, weight=network.output_weight)
    loss, expected = gradients(network, head, batch(packed=True))
    recompute_blocks(network, 2)
    again, found = gradients(network, head, batch(packed=True))
    assert torch.equal(loss, again)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    graphs: list[Any] = []
    compile_with(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph.forward)
    compile_blocks(network.eval())
    network(batch())
    assert len(graphs) > 0
    assert all(block._compiled_call_impl is not None for block in network.layers.blocks)
    torch._dynamo.reset()


def test_an_lstm_is_compiled_as_a_whole_and_has_nothing_to_recompute() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = LSTM(vocab_size=40, dim=16)
    head = NextToken(dim=16, vocab_size=40, weight=network.output_weight)
    assert repeated_blocks(network) == []
    loss, expected = gradients(network, head, batch(packed=True))
    compile_blocks(network)
    again, found = gradients(network, head, batch(packed=True))
    torch.testing.assert_close(again, loss)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    torch._dynamo.reset()
