"""Guards: memory that is told and memory that is taken are two different numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import Batch
from manyheads.decoding.cache import Cache
from manyheads.head.next_token import NextToken
from manyheads.model.bag_of_embeddings import BagOfEmbeddings
from manyheads.model.decoder import Decoder
from manyheads.model.encoder import Encoder
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.feedforward import Feedforward
from manyheads.model.gru import GRU
from manyheads.model.linear_attention import LinearAttention
from manyheads.model.lstm import LSTM
from manyheads.model.memory import (
    activation_bytes,
    cache_bytes,
    dtypes,
    in_dtype,
    live_bytes,
    optimizer_bytes,
    sources,
    weight_bytes,
)
from manyheads.model.recurrent import Recurrent
from manyheads.model.regions import recompute_blocks
from manyheads.model.rnn import RNN
from manyheads.model.seq2seq_lstm import Seq2SeqLSTM
from manyheads.model.textcnn import TextCNN
from manyheads.optim.adam import adam
from manyheads.optim.adamw import adamw
from manyheads.optim.lion import lion
from manyheads.optim.muon import muon
from manyheads.optim.schedule_free import schedule_free
from manyheads.optim.sgd import sgd


def make(of_head: dict[str, Any] | None = None, **settings: Any) -> tuple[Decoder, NextToken]:
    network = Decoder(**{"vocab_size": 40, "dim": 16, "num_layers": 4, "num_heads": 4, "dropout": 0.1, **settings})
    shape: dict[str, Any] = {"dim": network.dim, "vocab_size": network.vocab_size, "weight": network.output_weight}
    return network, NextToken(**shape, **(of_head or {}))


def rows(batch_size: int, seq_len: int) -> Batch:
    ids = torch.randint(40, (batch_size, seq_len))
    positions = torch.arange(seq_len).repeat(batch_size, 1)
    return Batch(input_ids=ids, labels=ids.clone(), positions=positions, segments=torch.ones_like(ids))


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("32-true", (torch.float32, None)),
        ("bf16-mixed", (torch.float32, torch.bfloat16)),
        ("bf16", (torch.float32, torch.bfloat16)),
        ("16", (torch.float32, torch.float16)),
        ("bf16-true", (torch.bfloat16, None)),
        ("64", (torch.float64, None)),
    ],
)
def test_precisions(precision: str, expected: tuple[Any, Any]) -> None:
    assert dtypes(precision) == expected


@pytest.mark.parametrize("optimization", [muon, adamw, adam, lion, sgd, schedule_free])
def test_the_optimizers_state_is_what_a_real_step_leaves(optimization: Any) -> None:
    """With the counter of steps that each parameter has, and without a buffer where none is kept."""
    with torch.device("meta"):
        network, head = make()
    told = optimizer_bytes(nn.ModuleDict({"network": network, "head": head}), optimization)
    network, head = make()
    whole = nn.ModuleDict({"network": network, "head": head})
    optimizer = optimization(module=whole).optimizer
    head(network(rows(2, 8)), rows(2, 8)).loss_sum.backward()
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values()]
    assert told == sum(value.numel() * value.element_size() for value in tensors)


def test_an_optimizer_that_needs_numbers_is_unknown() -> None:
    class Asks(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return self.param_groups[0]["params"][0].sum().item()

    with torch.device("meta"):
        network, _ = make()
    optimization = partial(lambda module: type("Made", (), {"optimizer": Asks(module.parameters())}))
    assert optimizer_bytes(network, optimization) is None  # type: ignore[arg-type]


def test_weights_count_once_and_gradients_only_where_something_learns() -> None:
    network, head = in_dtype(torch.bfloat16, make)
    whole = nn.ModuleDict({"network": network, "head": head})
    number = sum(p.numel() for p in network.parameters())
    assert weight_bytes(whole) == 2 * number
    network.embedding.requires_grad_(False)
    assert weight_bytes(whole, trained=True) == 2 * (number - 40 * 16)
    assert torch.get_default_dtype() == torch.float32


GRID: list[tuple[dict[str, Any], dict[str, Any], torch.dtype | None]] = [
    ({}, {}, None),
    ({"num_kv_heads": 2, "norm": "layernorm", "bias": True, "activation": "gelu"}, {}, None),
    ({"positions": "learned", "max_positions": 32}, {}, torch.bfloat16),
    ({"window": 8, "full_every": 2, "sinks": True, "qk_norm": True}, {}, None),
    ({"attention_softcap": 20.0, "positions": "alibi", "block": "parallel"}, {"softcap": 30.0}, None),
    ({"num_experts": 4, "router_z_loss": 0.001}, {}, None),
    ({}, {"mtp_tokens": 2, "chunked": True, "z_loss": 1e-4}, None),
]


def saved_bytes(network: nn.Module, head: NextToken, batch: Batch, autocast: torch.dtype | None) -> int:
    """What autograd itself says that it saves, parameters apart: another way to the same number."""
    own = {p.untyped_storage()._cdata for part in (network, head) for p in part.parameters()}
    saved: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage  # held, so that its address is not given to another
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast is not None),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        total = head.objective(network(batch), batch).total
        auxiliary = network.auxiliary_losses(batch) if hasattr(network, "auxiliary_losses") else None  # type: ignore[operator]
        total = total if auxiliary is None else total + auxiliary.total
    return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize(("settings", "of_head", "autocast"), GRID)
@pytest.mark.parametrize("every", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_activations_are_what_a_real_forward_pass_leaves(
    settings: dict[str, Any], of_head: dict[str, Any], autocast: torch.dtype | None, every: int | None
) -> None:
    """To the byte, on a CPU: the estimate makes no tensor, and the other side makes them all."""
    build = partial(make, of_head=of_head, **settings)
    sizes = {"batch_size": 3, "seq_len": 24, "autocast": autocast}
    told = activation_bytes(build, **sizes, recompute_every=every)
    network, head = build()
    whole = taken = live_bytes(network, head, **sizes)
    if every:
        recompute_blocks(network, every)
        taken = live_bytes(network, head, **sizes)
        assert taken < 0.75 * whole
        taken += (whole - taken) // 2  # one of the two blocks that are computed anew
    # where real positions go to an expert differs, and not how many there are
    assert told == pytest.approx(taken, rel=0.01 if "num_experts" in settings else 0)


@pytest.mark.parametrize(("settings", "of_head", "autocast"), GRID)
def test_what_is_left_is_what_autograd_saves(
    settings: dict[str, Any], of_head: dict[str, Any], autocast: torch.dtype | None
) -> None:
    """And the little that is not for the backward pass: the batch, and numbers that are logged. A chunked head keeps its
    gradients by itself: [N, D] for each of three losses, and the weight's."""
    network, head = make(of_head=of_head, **settings)
    saved = saved_bytes(network, head, rows(3, 24), autocast)
    left = live_bytes(network, head, 3, 24, autocast)
    own = 3 * 4 * (3 * 24 * 16 + 40 * 16) if head.chunked else 0
    # other rows go to other experts, some of which then have none
    fewer = 0.01 * saved if "num_experts" in settings else 0
    assert saved + own - fewer <= left <= saved + own + 0.05 * saved


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 1])
def test_the_peak_that_torchs_profiler_sees(every: int | None) -> None:
    """Weights apart, a step holds what was told and no more than a fifth besides, while gradients come as activations go.

    A network of a size at which logits and temporaries of one kernel are not most of it.
    """
    build = partial(make, vocab_size=64, dim=128, num_layers=6, dropout=0.0)
    told = activation_bytes(build, batch_size=8, seq_len=128, recompute_every=every)
    network, head = build()  # type: ignore[misc]
    if every:
        recompute_blocks(network, every)
    batch = rows(8, 128)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        head(network(batch), batch).loss_sum.backward()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert told <= peak <= 1.2 * told + weight_bytes(network)


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_the_cache_by_hand_and_as_it_is(num_kv_heads: int) -> None:
    """Keys and values of 4 layers, each as wide as its groups of heads, 4 bytes a number."""
    build = partial(make, num_kv_heads=num_kv_heads)
    assert cache_bytes(build, batch_size=1, seq_len=1) == 2 * 4 * num_kv_heads * 4 * 4
    cache: Cache = build()[0].new_cache(3, 17)
    assert cache.num_bytes == 0
    with torch.no_grad():
        build()[0](Batch(input_ids=torch.zeros(3, 2, dtype=torch.int64)), cache)
    assert cache.num_bytes == cache_bytes(build, batch_size=3, seq_len=17) == 3 * 17 * 2 * 4 * num_kv_heads * 4 * 4


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 4, "full_every": 2},  # layers with a window keep every position too
        {"sinks": True, "qk_norm": True},  # a sink is no key
        {"num_experts": 3},
        {"rotary_scaling": "dynamic", "rotary_factor": 2.0, "original_max_positions": 16},
    ],
)
def test_the_cache_of_every_kind_of_attention(settings: dict[str, Any]) -> None:
    network, _ = make(num_kv_heads=2, **settings)
    cache: Cache = network.new_cache(2, 9)
    with torch.no_grad():
        network.eval()(Batch(input_ids=torch.zeros(2, 9, dtype=torch.int64)), cache)
    told = cache_bytes(partial(make, num_kv_heads=2, **settings), batch_size=2, seq_len=9)
    assert told == cache.num_bytes == 2 * 9 * 2 * 4 * 2 * 4 * 4


def test_a_network_without_a_cache_has_none() -> None:
    assert cache_bytes(lambda: (nn.Linear(1, 1), make()[1]), batch_size=1, seq_len=1) is None


def make_pair(**settings: Any) -> tuple[EncoderDecoder, NextToken]:
    shape: dict[str, Any] = {"vocab_size": 40, "dim": 16, "num_encoder_layers": 2, "num_layers": 2, "num_heads": 4}
    network = EncoderDecoder(**shape | settings)
    return network, NextToken(dim=16, vocab_size=40, weight=network.output_weight)


@pytest.mark.parametrize("every", [None, 2])
def test_activations_of_an_encoder_decoder(every: int | None) -> None:
    """To the byte, and near to what autograd saves, with sources as long as the texts."""
    build = partial(make_pair, dropout=0.1)
    told = activation_bytes(build, batch_size=3, seq_len=24, recompute_every=every)
    network, head = build()
    whole = taken = live_bytes(network, head, 3, 24)
    saved = saved_bytes(network, head, rows(3, 24) | sources(network, 3, 24), None)
    assert saved <= whole <= 1.06 * saved
    if every:
        recompute_blocks(network, every)
        taken = live_bytes(network, head, 3, 24)
        assert taken < 0.75 * whole
        taken += (whole - taken) // 2
    assert told == taken


def test_the_cache_of_an_encoder_decoder_holds_texts_and_sources() -> None:
    """Keys and values of 2 layers, 2 groups of width 4, for each position of the text and each of the source."""
    build = partial(make_pair, num_kv_heads=2)
    assert cache_bytes(build, batch_size=3, seq_len=17) == 2 * 3 * 17 * 2 * 2 * 2 * 4 * 4
    network = build()[0]
    cache = network.new_cache(3, 17)
    with torch.no_grad():
        network(Batch(input_ids=torch.zeros(3, 2, dtype=torch.int64), **sources(network, 3, 17)), cache)
    assert cache.num_bytes == cache_bytes(build, batch_size=3, seq_len=17)
    assert sources(make()[0], 3, 17) == {}


def test_an_encoder_has_activations_and_no_cache() -> None:
    def build() -> tuple[Encoder, NextToken]:
        network = Encoder(vocab_size=40, dim=16, num_layers=4, num_heads=4, dropout=0.1)
        return network, NextToken(dim=16, vocab_size=40, weight=network.output_weight)

    assert activation_bytes(build, batch_size=3, seq_len=24) == live_bytes(*build(), 3, 24)
    kept = activation_bytes(build, batch_size=3, seq_len=24, recompute_every=1)
    assert kept < 0.75 * activation_bytes(build, batch_size=3, seq_len=24)
    assert cache_bytes(build, batch_size=3, seq_len=24) is None


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (LSTM, 2),
        *(pytest.param(kind, 1, marks=pytest.mark.slow) for kind in (GRU, RNN)),
    ],  # torch has no kernel for these
)
def test_a_recurrent_network_has_activations_and_states(kind: type[Recurrent], states: int, both: bool) -> None:
    """Near to what is left and to what autograd saves, whole rows or packed ones. States: hidden ones, and cells of an LSTM, of
    2 layers, 64 wide, 4 bytes a number, whatever the length."""

    def build() -> tuple[Recurrent, NextToken]:
        network = kind(vocab_size=40, dim=48, hidden=64, bidirectional=both, dropout=0.1)
        return network, NextToken(dim=48, vocab_size=40, weight=network.output_weight)

    told = activation_bytes(build, batch_size=3, seq_len=64)
    assert told == pytest.approx(live_bytes(*build(), 3, 64), rel=0.15)
    for cut in (False, True):
        data = rows(3, 64) if cut else Batch(input_ids=rows(3, 64)["input_ids"], labels=rows(3, 64)["labels"])
        assert told == pytest.approx(saved_bytes(*build(), data, None), rel=0.2)
    for length in (1, 17):
        assert cache_bytes(build, batch_size=3, seq_len=length) == (None if both else states * 3 * 2 * 64 * 4)


OTHERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "window": (Feedforward, {"hidden": 48, "window": 3, "num_layers": 2, "dropout": 0.1}),
    "bag": (BagOfEmbeddings, {"buckets": 50}),
    "convolution": (TextCNN, {"filters": 16}),
    "recurrent with attention": (Seq2SeqLSTM, {"hidden": 32}),
    "linear attention": (LinearAttention, {"num_heads": 2, "num_layers": 2, "chunk": 48}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_have_the_activations_that_are_left(name: str) -> None:
    kind, settings = OTHERS[name]

    def build() -> tuple[Any, NextToken]:
        network = kind(vocab_size=40, dim=32, **settings)
        return network, NextToken(dim=network.dim, vocab_size=40, weight=network.output_weight)

    told = activation_bytes(build, batch_size=3, seq_len=48)
    assert told == pytest.approx(live_bytes(*build(), 3, 48), rel=0.15)
    assert (cache_bytes(build, batch_size=3, seq_len=48) is None) is (build()[0].kind == "bidirectional")
