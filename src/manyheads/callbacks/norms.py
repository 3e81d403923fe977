"""How large gradients and weights are, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from manyheads import sharded
from manyheads.callbacks.metrics_log import write_row
from manyheads.callbacks.step import as_lm, step_is_done

_BLOCK = re.compile(r"^(.*?\.\d+)\.")


class LayerNorms(pl.Callback):
    """Logs `norms/grad/<layer>` and `norms/weight/<layer>`, Euclidean norms, every `every_n_steps` optimizer steps.

    Gradients are those that the optimizer's step is made of, over all micro-batches and ranks and divided by the count of
    labels, before clipping: their squares add up to the square of `train/grad_norm`. Weights are those after the step.
    The device is waited for once.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._gradients: tuple[list[str], Tensor] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Has gradients looked at before they are clipped."""
        as_lm(pl_module).before_clipping = lambda: self._take_gradients(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Has them looked at no more."""
        as_lm(pl_module).before_clipping = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs a row, of a step whose gradients were looked at."""
        if self._gradients is None or not step_is_done(trainer):
            return
        (layers, gradients), self._gradients = self._gradients, None
        names, weights = layer_norms((name, p.detach()) for name, p in pl_module.named_parameters())
        values = torch.cat([gradients, weights]).tolist()  # the one wait for the device
        keys = [f"norms/grad/{layer}" for layer in layers] + [f"norms/weight/{layer}" for layer in names]
        write_row(trainer, {"train/tokens": as_lm(pl_module).tokens_seen, **dict(zip(keys, values, strict=True))})

    def _take_gradients(self, trainer: pl.Trainer, module: nn.Module) -> None:
        if (trainer.global_step + 1) % self.every_n_steps == 0:
            self._gradients = layer_norms((name, p.grad) for name, p in module.named_parameters() if p.grad is not None)


def layer_of(parameter: str) -> str:
    """The layer that a parameter of the LM belongs to: `blocks.3` for all of a block, else the module that holds it."""
    name = parameter.removeprefix("network.")
    block = _BLOCK.match(name)
    return block[1] if block else name.rpartition(".")[0] or name


def layer_norms(named: Iterable[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    """The layers, in order, and the Euclidean norm over all tensors of each, [layers]; nothing waits.

    In float32, or float64 where a tensor is. To be called by all ranks where each holds a part of the tensors.
    """
    pairs = list(named)
    layers = list(dict.fromkeys(layer_of(name) for name, _ in pairs))
    place = {layer: i for i, layer in enumerate(layers)}
    squares = sharded.square_norms([tensor for _, tensor in pairs])
    index = torch.tensor([place[layer_of(name)] for name, _ in pairs], device=squares.device)
    return layers, squares.new_zeros(len(layers)).index_add_(0, index, squares).sqrt()
