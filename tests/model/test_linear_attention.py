"""Guards a state that grows, and a network that a chunk of another size changes. Texts and pieces: test_read_in_pieces.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.linear_attention import LinearAttention
from manyheads.model.regions import recompute_blocks


def network(**settings: Any) -> LinearAttention:
    torch.manual_seed(0)
    return LinearAttention(**{"vocab_size": 20, "dim": 8, "num_heads": 2, "num_layers": 2} | settings).double()


def test_chunks_change_nothing() -> None:
    ids = torch.randint(0, 20, (2, 13))
    first, *others = (network(chunk=chunk)(Batch(input_ids=ids)) for chunk in (64, 5, 1))
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-10, atol=1e-10)


def test_a_state_is_as_large_after_one_token_as_after_many() -> None:
    """2 layers of 2 heads of 4 x 4 numbers, in float64, for each of 3 rows."""
    net, cache = network(), network().new_cache(3, 50)
    for length in (1, 40):
        net(Batch(input_ids=torch.zeros(3, length, dtype=torch.long)), cache)
        assert cache.num_bytes == 3 * 2 * 2 * 16 * 8


def test_blocks_that_are_computed_anew_have_the_same_gradients() -> None:
    ids, found = torch.randint(0, 20, (2, 9)), []
    for every in (None, 1):
        net = network()
        if every:
            recompute_blocks(net, every)
        net(Batch(input_ids=ids)).square().sum().backward()
        found.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))  # type: ignore[arg-type]


def test_bfloat16_by_autocast_stays_near() -> None:
    net, batch = network().float(), Batch(input_ids=torch.randint(0, 20, (2, 12)))
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        near.sum().backward()
        cache = net.new_cache(2, 12)
        pieces = [net(Batch(input_ids=part), cache) for part in batch["input_ids"].split([7, 5], 1)]
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
    torch.testing.assert_close(torch.cat(pieces, 1).float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"dim": 9}, "model.dim=9 does not divide by model.num_heads=2: set model.dim to 8 or 10"),
        ({"chunk": 0}, "model.chunk=0: set a whole number of at least 1."),
        ({"activation": "tanh"}, "model.activation=tanh"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        network(**settings)
    assert str(caught.value).startswith(text)
