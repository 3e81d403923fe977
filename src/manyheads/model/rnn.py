"""The recurrent network without gates."""

from __future__ import annotations

from typing import final

from torch import nn

from manyheads.model.recurrent import Recurrent


@final
class RNN(Recurrent):
    """The simple recurrent network: tanh of the token and the state before (Elman 1990). For its settings see `Recurrent`."""

    layers_type = nn.RNN
