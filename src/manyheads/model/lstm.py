"""The recurrent network with gates and cells: long short-term memory."""

from __future__ import annotations

from typing import final

import torch
from torch import nn

from manyheads.model.recurrent import Recurrent


@final
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with the forget gates of Gers, Schmidhuber and Cummins (2000).

    Args:
        vocab_size, dim, hidden, num_layers, bidirectional, tie_embeddings, dropout, variational, init_std: see `Recurrent`.
        forget_bias: the bias of the forget gates at the start (1: Jozefowicz, Zaremba and Sutskever 2015, section 2.2).

    Raises:
        UserError: for numbers out of range.
    """

    layers_type = nn.LSTM

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        hidden: int | None = None,
        num_layers: int = 2,
        bidirectional: bool = False,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        variational: bool = False,
        forget_bias: float = 1.0,
        init_std: float = 0.1,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(
            vocab_size=vocab_size, dim=dim, hidden=hidden, num_layers=num_layers, bidirectional=bidirectional,
            tie_embeddings=tie_embeddings, dropout=dropout, variational=variational, init_std=init_std,
        )  # fmt: skip
        self.settings["forget_bias"] = forget_bias

    def reset_parameters(self) -> None:
        """Draws all weights anew; biases become 0, but for those of the forget gates."""
        super().reset_parameters()
        open_forget_gates(self.layers, self.forget_bias)


@torch.no_grad()
def open_forget_gates(layers: nn.RNNBase, bias: float) -> None:
    """Sets all biases of an LSTM's layers to 0, but those of the forget gates."""
    hidden = layers.hidden_size
    for name, parameter in layers.named_parameters():
        if name.startswith("bias"):
            parameter.zero_()
        if name.startswith("bias_ih"):
            parameter[hidden : 2 * hidden] = bias  # gates: input, forget, cell, output
