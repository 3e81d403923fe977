"""Guards a resumed run whose rows go on with states of zeros, or with another lane's."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from manyheads import ranks
from manyheads.callbacks.lane_states import CARRIED, LaneStatesKept
from manyheads.model.carried import LaneStates
from manyheads.model.lstm import LSTM
from manyheads.testing import tiny_network

TRAINER: Any = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING))


def module(network: Any) -> Any:
    return SimpleNamespace(network=network)


def saved(network: Any) -> dict[str, Any]:
    """What a checkpoint holds after it was written and read safely."""
    checkpoint: dict[str, Any] = {}
    LaneStatesKept().on_save_checkpoint(TRAINER, module(network), checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_states_are_taken_up_and_saved_again_as_they_were() -> None:
    network = LSTM(vocab_size=5, dim=4)
    states = tuple(torch.randn(2, 3, 4) for _ in range(2))
    network.carried.write(torch.tensor([0, 1, 2]), 3, True, states)
    checkpoint = saved(network)
    other = LSTM(vocab_size=5, dim=4)
    LaneStatesKept().on_load_checkpoint(TRAINER, module(other), checkpoint)
    found = other.carried.read(torch.tensor([2, 0]), 3, True)
    assert found is not None
    assert all(torch.equal(one, state[:, [2, 0]]) for one, state in zip(found, states, strict=True))
    again = saved(other)
    assert all(torch.equal(one, state) for one, state in zip(again[CARRIED]["states"], states, strict=True))


def test_each_lane_is_that_of_the_rank_that_has_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a resume, when each rank has all lanes of before."""
    old, new = torch.zeros(1, 4, 2), torch.arange(8.0).view(1, 4, 2)
    parts = []
    for rank in range(2):
        known = torch.tensor([rank == 0, rank == 1, rank == 0, False])
        parts.append(LaneStates((torch.where(known[None, :, None], new, old),), known))
    monkeypatch.setattr(ranks, "gathered", lambda value, group=None: parts)
    (found,) = saved(LSTM(vocab_size=5, dim=4))[CARRIED]["states"]
    assert torch.equal(found[:, :3], new[:, :3])
    assert not found[:, 3].any()


def test_a_network_that_carries_nothing_and_rows_that_stand_alone_leave_nothing() -> None:
    assert saved(tiny_network(5)[0]) == {}
    assert saved(LSTM(vocab_size=5, dim=4)) == {}
    LaneStatesKept().on_load_checkpoint(TRAINER, module(tiny_network(5)[0]), {CARRIED: {"states": []}})


def test_scoring_a_checkpoint_takes_nothing_up() -> None:
    network = LSTM(vocab_size=5, dim=4)
    trainer: Any = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.TESTING))
    LaneStatesKept().on_load_checkpoint(trainer, module(network), {CARRIED: {"states": [torch.ones(2, 3, 4)] * 2}})
    assert network.carried.training is None
