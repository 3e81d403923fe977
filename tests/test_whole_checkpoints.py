"""Guards an optimizer that computes as a checkpoint says and not as its own parameters allow, and a weight saved twice."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from manyheads.whole_checkpoints import WholeCheckpoints


class One(WholeCheckpoints, SingleDeviceStrategy):
    """On one device, where every part is the whole."""


class Tied(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


def made(fused: bool) -> tuple[One, Tied]:
    strategy, module = One("cpu"), Tied()
    strategy.connect(module)
    strategy.optimizers = [torch.optim.AdamW(module.parameters(), lr=0.1, fused=fused)]
    return strategy, module


def test_an_optimizer_takes_up_the_state_and_keeps_its_own_way_to_compute() -> None:
    (saved, module), (taken, other) = made(fused=True), made(fused=False)
    module.head(module.embedding.weight).sum().backward()
    saved.optimizers[0].step()
    state = saved.optimizer_state(saved.optimizers[0])
    taken.load_model_state_dict({"state_dict": saved.lightning_module_state_dict()})
    taken.load_optimizer_state_dict({"optimizer_states": [state]})
    assert torch.equal(other.head.weight, module.head.weight)
    assert taken.optimizers[0].param_groups[0]["fused"] is False
    (found,), (expected,) = (s.optimizers[0].state.values() for s in (taken, saved))
    assert all(torch.equal(found[name], expected[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_two_names_of_a_weight_are_saved_as_one() -> None:
    saved, _ = made(fused=True)
    state = saved.lightning_module_state_dict()
    assert state["head.weight"] is state["embedding.weight"]
