"""Guards a state that goes to another lane, into a text that begins, back in time by gradients, or from scoring to training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import Batch
from manyheads.model.carried import Carried
from manyheads.model.gru import GRU
from manyheads.model.linear_attention import LinearAttention
from manyheads.model.lstm import LSTM
from manyheads.model.regions import recompute_blocks
from manyheads.model.rnn import RNN

NETWORKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "lstm": (LSTM, {}),
    "lstm, projected": (LSTM, {"hidden": 5, "num_layers": 1}),
    "gru": (GRU, {}),
    "rnn": (RNN, {}),
    "linear attention": (LinearAttention, {"num_heads": 2, "num_layers": 2, "chunk": 3}),
}


def network(name: str) -> Any:
    torch.manual_seed(0)
    kind, settings = NETWORKS[name]
    made = kind(vocab_size=20, dim=8, **settings).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.6)
    return made


def row(ids: torch.Tensor, first: int, lanes: list[int], num_lanes: int = 3) -> Batch:
    places = torch.arange(first, first + ids.shape[1]).expand_as(ids)
    return Batch(input_ids=ids, positions=places, lanes=torch.tensor(lanes), num_lanes=num_lanes)


@pytest.mark.parametrize("name", NETWORKS)
def test_texts_in_short_rows_are_what_they_are_in_one(name: str) -> None:
    """Of any lanes in a batch, in any order, in training and in scoring."""
    net, ids = network(name), torch.randint(0, 20, (3, 11))
    whole = net(Batch(input_ids=ids))
    for training in (False, True):
        net.train(training)
        found = torch.zeros_like(whole)
        for first, end in ((0, 4), (4, 5), (5, 11)):
            for lanes in ([2, 0], [1]):
                found[lanes, first:end] = net(row(ids[lanes, first:end], first, lanes)).detach()
        torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_text_that_begins_knows_nothing_of_its_lane(name: str) -> None:
    """At a row's beginning, and within a row, behind the end of another that goes on."""
    net, ids = network(name), torch.randint(0, 20, (1, 12))
    alone = [net(Batch(input_ids=part)) for part in (ids[:, :6], ids[:, 6:9], ids[:, 9:])]
    net(row(ids[:, :4], 0, [0]))
    two = row(ids[:, 4:9], 4, [0]) | Batch(
        positions=torch.tensor([[4, 5, 0, 1, 2]]), segments=torch.tensor([[1, 1, 2, 2, 2]])
    )
    found = net(two)
    torch.testing.assert_close(found[:, :2], alone[0][:, 4:], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[:, 2:], alone[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net(row(ids[:, 9:], 0, [0])), alone[2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_end_where_the_batch_begins(name: str) -> None:
    """They are those of a batch whose first state is given as a number: found by differences of the loss of the second
    batch alone, with the state held."""
    net, ids = network(name).train(), torch.randint(0, 20, (1, 6))
    net(row(ids[:, :3], 0, [0]))
    before = copy.deepcopy(net.carried.training)
    net(row(ids[:, 3:], 3, [0])).square().sum().backward()
    for parameter in net.parameters():
        at = torch.randint(0, parameter.numel(), (3,))
        for place in at.tolist():
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * 1e-6
                    net.carried.training = copy.deepcopy(before)
                    values.append(net(row(ids[:, 3:], 3, [0])).square().sum().item())
                    parameter.view(-1)[place] -= sign * 1e-6
            slope = (values[0] - values[1]) / 2e-6
            assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_scoring_leaves_the_states_of_training(name: str) -> None:
    """In inference mode too, and both may be read outside of it."""
    net, ids = network(name).train(), torch.randint(0, 20, (2, 8))
    net(row(ids[:1, :4], 0, [0]))
    expected = net(row(ids[:1, 4:], 4, [0]))
    net(row(ids[:1, :4], 0, [0]))
    net.eval()
    with torch.inference_mode():
        first = net(row(ids[1:, :4], 0, [0]))
    net(row(ids[1:, 4:], 4, [0]))
    assert not first.requires_grad
    net.train()
    assert torch.equal(net(row(ids[:1, 4:], 4, [0])), expected)


def test_blocks_that_are_computed_anew_have_the_same_gradients_and_states() -> None:
    ids, found = torch.randint(0, 20, (2, 9)), []
    for every in (None, 1):
        net = network("linear attention").train()
        if every:
            recompute_blocks(net, every)
        for first in (0, 5):
            net.zero_grad()
            net(row(ids[:, first : first + 5], first, [0, 1])).square().sum().backward()
        found.append([*(parameter.grad for parameter in net.parameters()), *net.carried.training.states])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_which_lanes_were_read_is_known_and_another_number_of_lanes_begins_anew() -> None:
    carried, lanes = Carried(), torch.tensor([2, 0])
    assert carried.of(Batch(input_ids=torch.zeros(1, 1)), True) is None
    assert carried.read(lanes, 3, True) is None
    states = (torch.randn(1, 2, 4, requires_grad=True),)
    carried.write(lanes, 3, True, states)
    kept = carried.training
    assert kept is not None
    assert kept.known.tolist() == [True, False, True]
    assert not kept.states[0].requires_grad
    (found,) = carried.read(torch.tensor([0, 1, 2]), 3, True)  # type: ignore[misc]
    assert torch.equal(found, torch.stack((states[0][:, 1], torch.zeros(1, 4), states[0][:, 0]), 1))
    assert carried.read(lanes, 3, False) is None
    assert carried.read(lanes, 4, True) is None


def test_what_reads_from_both_ends_carries_nothing() -> None:
    with torch.device("meta"):
        assert LSTM(vocab_size=5).carries
        assert not LSTM(vocab_size=5, bidirectional=True).carries


def test_the_states_are_no_weights() -> None:
    net = network("lstm")
    names = set(net.state_dict())
    net(row(torch.zeros(1, 2, dtype=torch.long), 0, [0]))
    assert set(net.state_dict()) == names
