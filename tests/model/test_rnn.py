"""Guards another function than the tanh of what is read and what was read before."""

from __future__ import annotations

import torch

from manyheads.batch import Batch
from manyheads.model.rnn import RNN


def test_two_steps_by_the_formula() -> None:
    """h' = tanh(W x + b + U h + c), from zeros on (Elman 1990)."""
    torch.manual_seed(0)
    net = RNN(vocab_size=5, dim=3, hidden=4, num_layers=1, tie_embeddings=False)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    w, u, b, c = (parameter.detach() for parameter in net.layers.parameters())
    state, wanted = torch.zeros(4), []
    for token in (1, 4):
        state = (w @ net.embedding.weight[token].detach() + b + u @ state + c).tanh()
        wanted.append(state)
    torch.testing.assert_close(net(Batch(input_ids=torch.tensor([[1, 4]])))[0], torch.stack(wanted))
