"""Guards gates in another order or another place than in the formula."""

from __future__ import annotations

import torch

from manyheads.batch import Batch
from manyheads.model.gru import GRU


def test_one_step_by_the_formula() -> None:
    """r and z are the reset and update gates, n the new state: h' = (1 - z) n + z h, n = tanh(W x + r (U h + b))."""
    torch.manual_seed(0)
    net = GRU(vocab_size=5, dim=3, hidden=3, num_layers=1)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    first, second = net(Batch(input_ids=torch.tensor([[1, 4]])))[0]
    (w, u, b, c), x = (parameter.detach() for parameter in net.layers.parameters()), net.embedding.weight[4].detach()
    below, before = (w @ x + b).view(3, 3), (u @ first + c).view(3, 3)
    reset, update = (below[:2] + before[:2]).sigmoid()
    new = (below[2] + reset * before[2]).tanh()
    torch.testing.assert_close(second, (1 - update) * new + update * first)
