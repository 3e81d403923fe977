"""Variational dropout in recurrent networks: a text is read under masks that are the same at each of its positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from manyheads.decoding.cache import States

_KERNELS: dict[type[nn.RNNBase], Callable[..., Any]] = {nn.LSTM: torch.lstm, nn.GRU: torch.gru, nn.RNN: torch.rnn_tanh}
"""Torch's kernels behind the modules, which read a part of a module's layers."""


def read_under_masks(
    layers: nn.RNNBase, x: Tensor | PackedSequence, starts: States | None, dropout: float
) -> tuple[Any, States]:
    """What torch's layers make of texts, and the states after them, when each layer reads its input under a mask of the text's
    own, and what the last layer has made is masked so too: x_t * m / (1 - p), m of zeros with probability p, one m for each
    text and layer and the same at every t.

    Source: Gal and Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", section 4,
    for what goes up; what goes from one position to the next is left whole, as in Merity, Keskar and Socher 2018,
    "Regularizing and Optimizing LSTM Language Models", section 4.2 (locked dropout, in their code).

    Args:
        layers: torch's own, all in one.
        x: [N, T, D], a text in each row, or texts packed.
        starts: [layers x directions, N, H] each; None: zeros.
        dropout: p, above 0.
    """
    count = int(x.batch_sizes[0]) if isinstance(x, PackedSequence) else len(x)
    directions, after = 1 + layers.bidirectional, []
    if starts is None:
        shape = (layers.num_layers * directions, count, layers.hidden_size)
        starts = tuple(_data(x).new_zeros(shape) for _ in range(1 + isinstance(layers, nn.LSTM)))
    for layer in range(layers.num_layers):
        own = tuple(state[layer * directions : (layer + 1) * directions].contiguous() for state in starts)
        x, states = _read_layer(layers, layer, _masked(x, count, dropout), own)
        after.append(states)
    return _masked(x, count, dropout), tuple(torch.cat(states) for states in zip(*after, strict=True))


def _masked(x: Any, count: int, dropout: float) -> Any:
    """`x` under a mask for each of its texts."""
    data = _data(x)
    wide = torch.promote_types(data.dtype, torch.float32)  # in which 1 / (1 - p) is not rounded to a few digits
    mask = F.dropout(data.new_ones(count, data.shape[-1], dtype=wide), dropout)
    if isinstance(x, PackedSequence):
        # of packed texts the first tokens of all come first, then the second ones of those that have one, ...
        text = torch.cat([torch.arange(size) for size in x.batch_sizes.tolist()]).to(mask.device)
        return PackedSequence((data * mask[text]).to(data.dtype), x.batch_sizes)
    return (data * mask[:, None]).to(data.dtype)


def _read_layer(layers: nn.RNNBase, layer: int, x: Any, starts: States) -> tuple[Any, States]:
    """What one of the layers makes of its input, in both directions where it has them."""
    kernel = next(found for kind, found in _KERNELS.items() if isinstance(layers, kind))
    state = starts if isinstance(layers, nn.LSTM) else starts[0]
    ends = [f"_l{layer}{reverse}" for reverse in ("", "_reverse")[: 1 + layers.bidirectional]]
    weights = [getattr(layers, name + end) for end in ends for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    told = (weights, True, 1, 0.0, True, layers.bidirectional)  # has biases, layers, dropout, training, directions
    if isinstance(x, PackedSequence):
        found, *after = kernel(x.data, x.batch_sizes, state, *told)
        return PackedSequence(found, x.batch_sizes), tuple(after)
    found, *after = kernel(x, state, *told, True)
    return found, tuple(after)


def _data(x: Tensor | PackedSequence) -> Tensor:
    return x.data if isinstance(x, PackedSequence) else x  # a tensor's `data` has no gradient
