"""Guards attention and first states that are none of the formulas. What any encoder-decoder promises: test_read_sources.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.seq2seq_lstm import Seq2SeqLSTM


def network(**settings: Any) -> Seq2SeqLSTM:
    torch.manual_seed(0)
    made = Seq2SeqLSTM(**{"vocab_size": 9, "dim": 4, "hidden": 3} | settings).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.6)
    return made


def test_states_by_the_formulas_step_by_step() -> None:
    """h W s for each state s of the source, softmax, the mean c, and tanh of a matrix of [c; h] (Luong et al. 2015, 5, 7, 8)."""
    net, source, text = network(num_layers=2), torch.tensor([5, 1, 8, 8]), torch.tensor([2, 7, 7])
    states, (hidden, cell) = net.encoder(net.embedding(source)[None])
    both = [torch.cat((end[0, 0], end[1, 0])) for end in (hidden, cell)]
    first = [torch.tanh(bridge(end)).view(2, 3) for bridge, end in zip(net.bridges, both, strict=True)]
    cells = []
    for layer in range(2):
        made = nn.LSTMCell(4 if layer == 0 else 3, 3).double()
        made.load_state_dict(
            {n: getattr(net.decoder, f"{n}_l{layer}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )
        cells.append(made)
    at, wanted = [(first[0][i], first[1][i]) for i in range(2)], []
    for token in text:
        x = net.embedding(token)
        for layer, made in enumerate(cells):
            at[layer] = made(x, at[layer])
            x = at[layer][0]
        scores = torch.stack([x @ (net.attention.score.weight.T @ state) for state in states[0]])
        context = (scores.softmax(0)[:, None] * states[0]).sum(0)
        wanted.append(torch.tanh(net.attention.combine.weight @ torch.cat((context, x))))
    found = net(Batch(input_ids=text[None], source_ids=source[None]))[0]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-10, atol=1e-10)


def test_the_room_of_a_cache_is_that_of_states_and_sources() -> None:
    """Two states of 3 numbers for each of 2 layers, the same to begin with, and 6 numbers for each of 4 places; in float64."""
    net, cache = network(num_layers=2), network().new_cache(2, 5)
    assert cache.num_bytes == 0
    net(Batch(input_ids=torch.zeros(2, 1, dtype=torch.long), source_ids=torch.ones(2, 4, dtype=torch.long)), cache)
    assert cache.num_bytes == 8 * (2 * 2 * 2 * 3 + 2 * 2 * 2 * 3 + 2 * 4 * 6)


def test_weights_start_as_they_should_and_are_drawn_anew() -> None:
    net = Seq2SeqLSTM(vocab_size=500, dim=64, hidden=100)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net.reset_parameters()
    assert net.embedding.weight.std().item() == pytest.approx(0.1, rel=0.02)
    for layers, ends in ((net.encoder, "_l0_reverse"), (net.decoder, "_l0")):
        bias = getattr(layers, f"bias_ih{ends}").view(4, 100)
        assert bias.sum(1).tolist() == [0.0, 100.0, 0.0, 0.0]
        assert getattr(layers, f"weight_hh{ends}").abs().max().item() == pytest.approx(0.1, rel=0.01)
    assert all(parameter.abs().max() < 1.5 for parameter in net.parameters())


def test_dropout_acts_in_training_alone() -> None:
    net, batch = network(dropout=0.5), Batch(input_ids=torch.tensor([[1, 2]]), source_ids=torch.tensor([[3, 4]]))
    assert torch.equal(net(batch), net(batch))
    net.train()
    assert not torch.equal(net(batch), net(batch))


def test_sources_that_are_missing_are_told() -> None:
    with pytest.raises(UserError, match="no sources to read: set a task that has them"):
        network()(Batch(input_ids=torch.tensor([[1, 2]])))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"hidden": 0}, "model.hidden=0: set a whole number of at least 1."),
        ({"num_encoder_layers": 0}, "model.num_encoder_layers=0: set a whole number of at least 1."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        Seq2SeqLSTM(**{"vocab_size": 20} | settings)
    assert str(caught.value) == text
