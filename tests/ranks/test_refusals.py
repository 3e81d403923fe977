"""What several ranks cannot do is said once, before any work, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from .conftest import Ranked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TWO = ["trainer=ddp", "trainer.devices=2"]


def test_a_mistake_is_said_once_and_leaves_no_folder(tiny: list[str], start: Callable[..., Ranked]) -> None:
    run = start(*tiny, *TWO, "data.path=nowhere")
    assert run.wait() == 1
    assert run.err.count("error:") == 1
    assert "data.path=nowhere: there is no such" in run.err
    assert not list(run.place.glob("outputs/runs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_ranks_without_a_gpu_say_what_to_set(tiny: list[str], start: Callable[..., Ranked]) -> None:
    """Guards NCCL's own words about it, which were taken for those of a rank whose neighbour had gone."""
    run = start(*tiny, *TWO, "trainer.accelerator=gpu")
    assert run.wait() == 1
    assert "error: trainer.accelerator=gpu: no GPU is visible. Set trainer=cpu or trainer.accelerator=auto." in run.err


def test_what_needs_one_device_is_refused_on_two(tiny: list[str], start: Callable[..., Ranked]) -> None:
    run = start(*tiny, *TWO, "debug=find_lr")
    assert run.wait() == 1
    assert "callbacks.find_lr=true looks on one device, not 2: set trainer.devices=1." in run.err


def test_machines_need_a_launcher(tiny: list[str], start: Callable[..., Ranked]) -> None:
    run = start(*tiny, *TWO, "trainer.num_nodes=2")
    assert run.wait() == 1
    assert "trainer.num_nodes=2: on each machine, start it with torchrun --nnodes 2" in run.err
