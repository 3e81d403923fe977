"""Guards a mask that changes within a text, that two texts, layers or directions share, or that is there when nothing is learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from manyheads.batch import Batch
from manyheads.model import variational
from manyheads.model.gru import GRU
from manyheads.model.lstm import LSTM
from manyheads.model.recurrent import Recurrent
from manyheads.model.rnn import RNN
from manyheads.model.variational import read_under_masks

KINDS = [LSTM, GRU, RNN]


def network(kind: type[Recurrent] = LSTM, **settings: Any) -> Recurrent:
    torch.manual_seed(0)
    made = kind(**{"vocab_size": 20, "dim": 6, "variational": True, "dropout": 0.5} | settings).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.6)
    return made


class Seen:
    """What goes into and comes out of each mask."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        plain = variational._masked

        def masked(x: Any, count: int, dropout: float) -> Any:
            found = plain(x, count, dropout)
            self.pairs.append((variational._data(x).detach(), variational._data(found).detach()))
            return found

        monkeypatch.setattr(variational, "_masked", masked)

    @property
    def masks(self) -> list[Tensor]:
        return [after / before for before, after in self.pairs]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_mask_it_is_what_torchs_module_makes(kind: type[Recurrent], bidirectional: bool) -> None:
    """With p so small that nothing is ever dropped; states and gradients, rows and packed texts."""
    net = network(kind, bidirectional=bidirectional, num_layers=3)
    x = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    packed = PackedSequence(torch.randn(7, 6, dtype=torch.float64), torch.tensor([3, 2, 2]))
    for given in (x, packed):
        found, states = read_under_masks(net.layers, given, None, 1e-300)
        expected, after = net.layers(given)
        after = after if isinstance(after, tuple) else (after,)
        for one, other in zip((variational._data(found), *states), (variational._data(expected), *after), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    again, _ = read_under_masks(net.layers, x, states_of(net, 2), 1e-300)
    begun = states_of(net, 2)
    expected, _ = net.layers(x, begun if len(begun) > 1 else begun[0])
    torch.testing.assert_close(again, expected, rtol=1e-12, atol=1e-12)


def states_of(net: Recurrent, count: int) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    shape = (net.layers.num_layers * (1 + net.layers.bidirectional), count, net.layers.hidden_size)
    return tuple(torch.randn(shape, dtype=torch.float64) for _ in range(1 + isinstance(net.layers, nn.LSTM)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_one_for_each_row_and_layer(kind: type[Recurrent], monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = network(kind, dim=40), Seen(monkeypatch)
    net(Batch(input_ids=torch.randint(0, 20, (3, 7))))
    assert len(seen.masks) == 3  # the inputs of two layers, and what the last has made
    for mask in seen.masks:
        assert mask.shape == (3, 7, 40)
        assert (mask == mask[:, :1]).all()
        assert set(mask.unique().tolist()) == {0.0, 2.0}
    rows = [mask[row, 0] for mask in seen.masks for row in range(3)]
    assert all(not torch.equal(one, other) for i, one in enumerate(rows) for other in rows[:i])


def test_packed_texts_have_masks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of texts of 3, 2, 1 and 4 tokens: each token's mask is that of its text, whatever row and place it has."""
    net, seen = network(dim=40), Seen(monkeypatch)
    segments = torch.tensor([[1, 1, 1, 2, 2, 3], [0, 1, 1, 1, 1, 0]])
    net(Batch(input_ids=torch.randint(0, 20, (2, 6)), segments=segments))
    # the longest first: 4, 3, 2, 1
    texts = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 1, 0])
    for mask in seen.masks:
        each = [mask[texts == text] for text in range(4)]
        assert all((one == one[0]).all() for one in each)
        assert len({tuple(one[0].tolist()) for one in each}) == 4


def test_the_expectation_is_that_of_the_whole() -> None:
    """Of the states of one layer whose input and output are masked: h * m / (1 - p), and the input within a linear map."""
    x = torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    masked = variational._masked(x, 4000, 0.3)
    assert masked.mean().item() == pytest.approx(1, abs=0.02)
    assert masked.unique().tolist() == pytest.approx([0, 1 / 0.7])


def test_it_is_off_when_nothing_is_learned_and_without_the_key() -> None:
    net, batch = network(), Batch(input_ids=torch.randint(0, 20, (2, 6)))
    net.eval()
    plain = network(variational=False, dropout=0.0)
    assert torch.equal(net(batch), plain(batch))
    assert torch.equal(network(dropout=0.0).train()(batch), plain(batch))
    # with the key an output is 0 at all positions of a row or at none; without it at some
    for key in (True, False):
        found = network(variational=key).train()(batch) == 0
        assert (found.all(1) | ~found.any(1)).all().item() is key


def test_the_gradient_is_that_of_the_formula_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """h1 = tanh(w m x1), h2 = tanh(w m x2 + u h1), and the loss o h2 with masks m and o of one layer, one wide."""
    net = network(RNN, dim=1, num_layers=1, vocab_size=2, dropout=0.75)
    with torch.no_grad():
        for name, value in {"weight_ih_l0": 0.5, "weight_hh_l0": -0.8, "bias_ih_l0": 0.0, "bias_hh_l0": 0.0}.items():
            getattr(net.layers, name).fill_(value)
        net.embedding.weight.copy_(torch.tensor([[0.7], [-0.4]], dtype=torch.float64))
    masks = iter([torch.tensor(4.0), torch.tensor(4.0)])
    monkeypatch.setattr(variational.F, "dropout", lambda ones, p: ones * next(masks))
    net.train()(Batch(input_ids=torch.tensor([[0, 1]])))[0, 1, 0].backward()
    w, u, x1, x2, m = 0.5, -0.8, 0.7, -0.4, 4.0
    h1 = torch.tanh(torch.tensor(w * m * x1, dtype=torch.float64)).item()
    h2 = torch.tanh(torch.tensor(w * m * x2 + u * h1, dtype=torch.float64)).item()
    inner1, inner2 = 1 - h1**2, 1 - h2**2
    expected = {
        "weight_ih_l0": m * inner2 * (m * x2 + u * inner1 * m * x1),
        "weight_hh_l0": m * inner2 * h1,
    }
    for name, value in expected.items():
        assert getattr(net.layers, name).grad.item() == pytest.approx(value, rel=1e-12)
    slopes = [m * inner2 * u * inner1 * w * m, m * inner2 * w * m]
    assert net.embedding.weight.grad.flatten().tolist() == pytest.approx(slopes, rel=1e-12)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_by_autocast_stays_near(kind: type[Recurrent]) -> None:
    net = network(kind, dropout=1e-30).float().train()
    batch = Batch(input_ids=torch.randint(0, 20, (2, 6)), segments=torch.tensor([[1, 1, 1, 2, 2, 0], [1] * 6]))
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        near.sum().backward()
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
