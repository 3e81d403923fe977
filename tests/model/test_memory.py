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
from manyheads.model.decoder import Decoder
from manyheads.model.memory import (
    activation_bytes,
    cache_bytes,
    dtypes,
    in_dtype,
    optimizer_bytes,
    saved_bytes,
    weight_bytes,
)
from manyheads.model.regions import recompute_blocks
from manyheads.optim.adamw import adamw
from manyheads.optim.muon import muon


def make(**settings: Any) -> tuple[Decoder, NextToken]:
    network = Decoder(**{"vocab_size": 40, "dim": 16, "num_layers": 4, "num_heads": 4, "dropout": 0.1, **settings})
    return network, NextToken(dim=network.dim, vocab_size=network.vocab_size, weight=network.output_weight)


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


@pytest.mark.parametrize("optimization", [muon, adamw])
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


@pytest.mark.parametrize(
    ("settings", "autocast"),
    [
        ({}, None),
        ({"num_kv_heads": 2, "norm": "layernorm", "bias": True, "activation": "gelu"}, None),
        ({"positions": "learned", "max_positions": 32}, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("every", [None, 2])
def test_activations_are_what_a_real_forward_pass_saves(
    settings: dict[str, Any], autocast: torch.dtype | None, every: int | None
) -> None:
    """To the byte, on a CPU: the estimate makes no tensor, and the other side makes them all."""
    told = activation_bytes(
        partial(make, **settings), batch_size=3, seq_len=24, autocast=autocast, recompute_every=every
    )
    network, head = make(**settings)
    whole = taken = saved_bytes(network, head, rows(3, 24), autocast)
    if every:
        recompute_blocks(network, every)
        taken = saved_bytes(network, head, rows(3, 24), autocast)
        assert taken < 0.7 * whole
        taken += (whole - taken) // 2  # one of the two blocks that are computed anew
    assert told == taken


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 1])
def test_the_peak_that_torchs_profiler_sees(every: int | None) -> None:
    """Weights apart, a step holds what was told and no more than a fifth besides, while gradients come as activations go.

    A network of a size at which logits and temporaries of one kernel are not most of it.
    """
    build = partial(make, vocab_size=64, dim=128, num_layers=6, dropout=0.0)
    told = activation_bytes(build, batch_size=8, seq_len=128, recompute_every=every)
    network, head = build()  # type: ignore[misc]
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


def test_a_network_without_a_cache_has_none() -> None:
    assert cache_bytes(lambda: (nn.Linear(1, 1), make()[1]), batch_size=1, seq_len=1) is None
