"""Guards forget gates that start closed, or another gate that starts open. What all recurrent networks share: test_recurrent.py."""

from __future__ import annotations

import pytest
import torch

from manyheads.model.lstm import LSTM


def test_weights_start_as_they_should_and_are_drawn_anew() -> None:
    net = LSTM(vocab_size=500, dim=64, hidden=100, bidirectional=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net.reset_parameters()
    assert net.embedding.weight.std().item() == pytest.approx(0.1, rel=0.02)
    for ends in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        assert getattr(net.lstm, f"bias_ih{ends}").view(4, 100).tolist() == [
            [0.0] * 100,
            [1.0] * 100,
            *[[0.0] * 100] * 2,
        ]
        assert not getattr(net.lstm, f"bias_hh{ends}").any()
        assert getattr(net.lstm, f"weight_hh{ends}").abs().max().item() == pytest.approx(0.1, rel=0.01)
    assert net.projection is not None
    assert not (net.projection.weight == 7).any()
