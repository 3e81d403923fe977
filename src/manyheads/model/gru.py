"""The recurrent network with gates and no cells."""

from __future__ import annotations

from typing import final

from torch import nn

from manyheads.model.recurrent import Recurrent


@final
class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014, section 2.3), whose reset gate acts behind the matrix of the state before, as in
    torch.nn.GRU. For its settings see `Recurrent`.
    """

    layers_type = nn.GRU
