"""Guards states that run over from one text of a row to the next, that padding changes, or that decoding loses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.gru import GRU
from manyheads.model.lstm import LSTM
from manyheads.model.recurrent import Recurrent, cut
from manyheads.model.rnn import RNN

CELLS: dict[type[Recurrent], type[nn.RNNCellBase]] = {LSTM: nn.LSTMCell, GRU: nn.GRUCell, RNN: nn.RNNCell}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer": {"num_layers": 1},
    "projected": {"hidden": 5},
    "untied": {"hidden": 5, "tie_embeddings": False},
    "bidirectional": {"bidirectional": True},
    "bidirectional, untied": {"bidirectional": True, "tie_embeddings": False, "hidden": 5},
    "GRU, plain": {"kind": GRU},
    "GRU, projected": {"kind": GRU, "hidden": 5},
    "GRU, bidirectional": {"kind": GRU, "bidirectional": True},
    "RNN, plain": {"kind": RNN},
    "RNN, projected": {"kind": RNN, "hidden": 5},
    "RNN, bidirectional": {"kind": RNN, "bidirectional": True},
}
CAUSAL = [name for name in SHAPES if "bidirectional" not in name]


def network(kind: type[Recurrent] = LSTM, **settings: Any) -> Recurrent:
    """Weights far from where they start, so that a state that should not be there shows."""
    torch.manual_seed(0)
    made = kind(**{"vocab_size": 20, "dim": 8} | settings).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.6)
    return made


def by_torch(net: Recurrent, text: Tensor) -> Tensor:
    """One text alone, step by step in torch's cell: [T, D]."""
    x = net.embedding(text)
    directions = 1 + net.layers.bidirectional
    for layer in range(net.layers.num_layers):
        outputs = []
        for direction in range(directions):
            ends = f"_l{layer}{'_reverse' if direction else ''}"
            cell = CELLS[type(net)](x.shape[1], net.layers.hidden_size).double()  # type: ignore[call-arg]
            cell.load_state_dict(
                {n: getattr(net.layers, n + ends) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            )
            state, found = None, []
            for step in x.flip(0) if direction else x:
                state = cell(step, state)
                found.append(state[0] if isinstance(state, tuple) else state)
            outputs.append(torch.stack(found[::-1] if direction else found))
        x = torch.cat(outputs, -1)
    return x if net.projection is None else net.projection(x)


@pytest.mark.parametrize("name", SHAPES)
def test_a_text_alone_is_what_torchs_cell_makes_of_it(name: str) -> None:
    net, text = network(**SHAPES[name]), torch.randint(0, 20, (7,))
    found = net(Batch(input_ids=text[None]))
    assert found.shape == (1, 7, net.dim)
    torch.testing.assert_close(found[0], by_torch(net, text), rtol=1e-10, atol=1e-10)


def test_pieces_by_hand() -> None:
    """Two rows of 4: a b | c .  and  . d e f. The longest first: d e f, a b, c; then all first tokens, and so on."""
    pieces = cut(torch.tensor([[1, 1, 2, 0], [0, 1, 1, 1]]))
    assert pieces.tokens.tolist() == [5, 0, 2, 6, 1, 7]
    assert pieces.batch_sizes.tolist() == [3, 2, 1]
    assert pieces.rows.tolist() == [1, 0, 0]
    assert pieces.goes_on.tolist() == [True, True, False]
    assert pieces.lasts.tolist() == [True, False, True]
    begun = cut(torch.tensor([[1, 1, 2, 0], [0, 1, 1, 1]]), torch.tensor([[0, 1, 0, 0], [0, 5, 6, 7]]))
    assert begun.goes_on.tolist() == [True, False, False]


def test_no_state_knows_what_comes_after_it_but_in_both_directions() -> None:
    ids, changed = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 3, 5]])
    net = network()
    assert torch.equal(net(Batch(input_ids=ids))[:, :3], net(Batch(input_ids=changed))[:, :3])
    net = network(bidirectional=True)
    assert (net(Batch(input_ids=ids)) - net(Batch(input_ids=changed))).abs().amax(-1).min() > 1e-3


def test_the_kind_is_that_of_the_instance() -> None:
    with torch.device("meta"):
        kinds = [GRU(vocab_size=20, bidirectional=both).kind for both in (False, True)]
    assert (GRU.kind, *kinds) == ("causal", "causal", "bidirectional")


@pytest.mark.parametrize(
    ("settings", "dim", "projected"),
    [
        ({}, 8, False),
        ({"hidden": 5}, 8, True),
        ({"hidden": 5, "tie_embeddings": False}, 5, False),
        ({"bidirectional": True}, 8, True),
        ({"bidirectional": True, "tie_embeddings": False}, 16, False),
        ({"bidirectional": True, "hidden": 4}, 8, False),
    ],
)
def test_widths(settings: dict[str, Any], dim: int, projected: bool) -> None:
    net = network(**settings)
    assert (net.dim, net.projection is not None) == (dim, projected)
    assert net(Batch(input_ids=torch.zeros(1, 2, dtype=torch.long))).shape == (1, 2, dim)
    tied = settings.get("tie_embeddings", True)
    assert net.output_weight is (net.embedding.weight if tied else None)


@pytest.mark.parametrize("kind", [GRU, RNN])
def test_weights_start_as_they_should_and_are_drawn_anew(kind: type[Recurrent]) -> None:
    net = kind(vocab_size=500, dim=64, hidden=100, bidirectional=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net.reset_parameters()
    assert net.embedding.weight.std().item() == pytest.approx(0.1, rel=0.02)
    for name, parameter in net.layers.named_parameters():
        assert parameter.abs().max().item() == pytest.approx(0.0 if name.startswith("bias") else 0.1, rel=0.01), name
    assert net.projection is not None
    assert not (net.projection.weight == 7).any()


def test_dropout_acts_in_training_alone_with_one_layer_too() -> None:
    for layers in (1, 2):
        net, batch = network(dropout=0.5, num_layers=layers), Batch(input_ids=torch.randint(0, 20, (1, 6)))
        assert torch.equal(net(batch), net(batch))
        net.train()
        assert not torch.equal(net(batch), net(batch))


def test_bfloat16_by_autocast_and_in_full_stays_near() -> None:
    net = network(hidden=5).float()
    batch = Batch(
        input_ids=torch.randint(0, 20, (2, 6)), segments=torch.tensor([[1, 1, 1, 2, 2, 0], [0, 1, 1, 1, 1, 1]])
    )
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        near.sum().backward()
        cache = net.new_cache(2, 7)
        net(batch, cache)
        net(Batch(input_ids=batch["input_ids"][:, :1]), cache)
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
    half = net.bfloat16()(batch)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.15, atol=0.15)


def test_a_copy_has_weights_of_its_own() -> None:
    """As weight averaging makes one: torch keeps the weights of an LSTM in a second list."""
    net, batch = network(), Batch(input_ids=torch.randint(0, 20, (1, 6)))
    other, before = copy.deepcopy(net), net(batch)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(net(batch), before)
    assert not other(batch).any()


def test_both_directions_have_no_cache() -> None:
    with pytest.raises(AssertionError, match="reads each row as a whole"):
        network(bidirectional=True).new_cache(1, 2)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"hidden": 0}, "model.hidden=0: set a whole number of at least 1."),
        ({"num_layers": 0}, "model.num_layers=0: set a whole number of at least 1."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
        ({"init_std": 0.0}, "model.init_std=0.0: set a number above 0."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        LSTM(**{"vocab_size": 20} | settings)
    assert str(caught.value) == text
