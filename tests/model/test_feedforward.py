"""Guards a window that is shifted or turned round. What it promises as any other network does: test_read_in_pieces.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.feedforward import Feedforward


@pytest.mark.parametrize("direct", [False, True])
def test_states_by_the_formula(direct: bool) -> None:
    """Before the output matrix: W x + U tanh(d + H x), x the embeddings from the oldest to the newest (Bengio et al. 2003,
    equation 1), zeros before the text."""
    torch.manual_seed(0)
    net = Feedforward(vocab_size=9, dim=2, window=3, hidden=4, direct=direct, tie_embeddings=not direct)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    text = [5, 1, 8, 8]
    (layer,), embedding = net.layers.hidden, net.embedding.weight
    assert net.layers.out is not None
    wanted = []
    for place in range(4):
        seen = [embedding[text[i]] if i >= 0 else torch.zeros(2) for i in (place - 2, place - 1, place)]
        x = torch.cat(seen)
        state = net.layers.out.weight @ torch.tanh(layer.weight @ x + layer.bias)
        wanted.append(state + net.layers.direct.weight @ x if net.layers.direct is not None else state)
    torch.testing.assert_close(net(Batch(input_ids=torch.tensor([text])))[0], torch.stack(wanted))


def test_a_state_knows_its_window_and_no_more() -> None:
    torch.manual_seed(0)
    net = Feedforward(vocab_size=9, dim=4, window=3, hidden=5).double()
    with torch.no_grad():
        found = net(Batch(input_ids=torch.tensor([[0, 1, 2, 3, 4, 5], [0, 8, 2, 3, 4, 5]])))
    changed = (found[0] != found[1]).any(-1).tolist()
    assert changed == [False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("settings", "dim", "tied"),
    [
        ({}, 8, True),
        ({"tie_embeddings": False}, 6, False),
        ({"tie_embeddings": False, "direct": True}, 8, False),
        ({"direct": True}, 8, True),
    ],
)
def test_widths(settings: dict[str, Any], dim: int, tied: bool) -> None:
    net = Feedforward(**{"vocab_size": 9, "dim": 8, "hidden": 6, "num_layers": 2} | settings)
    assert net(Batch(input_ids=torch.zeros(1, 2, dtype=torch.long))).shape == (1, 2, net.dim)
    assert (net.dim, net.output_weight is net.embedding.weight) == (dim, tied)


def test_weights_start_as_they_should() -> None:
    """Glorot and Bengio 2010, equation 16: uniform within the root of 6 / (inputs + outputs)."""
    net = Feedforward(vocab_size=500, dim=64, window=4, hidden=100)
    assert net.embedding.weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert net.layers.hidden[0].weight.abs().max().item() == pytest.approx((6 / 356) ** 0.5, rel=0.01)
    assert not net.layers.hidden[0].bias.any()


def test_dropout_acts_in_training_alone() -> None:
    net, batch = Feedforward(vocab_size=9, dropout=0.5).eval(), Batch(input_ids=torch.tensor([[1, 2, 3]]))
    assert torch.equal(net(batch), net(batch))
    net.train()
    assert not torch.equal(net(batch), net(batch))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"window": 0}, "model.window=0: set a whole number of at least 1."),
        ({"hidden": 0}, "model.hidden=0: set a whole number of at least 1."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        Feedforward(**{"vocab_size": 20} | settings)
    assert str(caught.value) == text
