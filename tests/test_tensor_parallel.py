"""Guards devices of one group that read different rows, and what cannot be shared out being told only after a long wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import nn

from manyheads.errors import UserError
from manyheads.model.decoder import Decoder
from manyheads.tensor_parallel import TensorParallel

SIZE = "trainer.strategy_options.tensor_parallel_size"
ONE = ["trainer=tensor_parallel", "trainer.devices=1", "trainer.accelerator=cpu"]


def made(devices: int, size: int | None, rank: int = 0) -> TensorParallel:
    strategy = TensorParallel(tensor_parallel_size=size)
    strategy.cluster_environment = LightningEnvironment()
    strategy.cluster_environment.set_world_size(devices)
    strategy.cluster_environment.set_global_rank(rank)
    strategy.parallel_devices = [torch.device("cpu")] * devices
    return strategy


def decoder(**settings: Any) -> Decoder:
    return Decoder(**{"vocab_size": 13, "dim": 12, "num_layers": 1, "num_heads": 2, **settings})


@pytest.mark.parametrize(
    ("devices", "size", "network", "compiled", "text"),
    [
        (
            2,
            None,
            decoder(num_heads=3),
            False,
            "model.num_heads=3 is no multiple of 2, the ranks of tensor parallelism.",
        ),
        (
            4,
            2,
            decoder(num_kv_heads=1),
            False,
            "model.num_kv_heads=1 is no multiple of 2, the ranks of tensor parallel",
        ),
        (2, None, decoder(dropout=0.1), False, "model.dropout=0.1 does not go together with tensor parallelism."),
        (2, None, decoder(), True, "compile=true does not go with trainer.strategy=tensor_parallel. Set compile=false"),
        (
            2,
            3,
            decoder(),
            False,
            f"{SIZE}=3 does not divide the 2 device(s). Set null for all of them, or a number that",
        ),
        (2, None, nn.Linear(2, 2), False, "shares out a Decoder, and model is a Linear. Set trainer.strategy=ddp"),
    ],
)
def test_what_cannot_be_shared_out_is_named(
    devices: int, size: int | None, network: nn.Module, compiled: bool, text: str
) -> None:
    with pytest.raises(UserError) as told:
        made(devices, size).check(network, compiled=compiled)
    assert text in str(told.value)
    assert len(str(told.value).splitlines()) <= 2


def test_a_decoder_that_divides_is_not_refused() -> None:
    made(2, None).check(decoder())
    made(1, None).check(decoder(num_heads=3, dropout=0.1))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["debug=find_lr"], "callbacks.find_lr=true does not go with trainer.strategy=tensor_parallel"),
        ([f"+{SIZE}=0"], f"{SIZE}=0"),
        ([f"+{SIZE}=2"], f"{SIZE}=2 does not divide the 1 device(s)."),
        (["compile=true"], "compile=true does not go with trainer.strategy=tensor_parallel."),
    ],
)
def test_a_refusal_comes_before_data_is_read(words: list[str], text: str, cli: Callable[..., Any]) -> None:
    done = cli("train", *ONE, "data=text", "data.path=nowhere", *words)
    assert done.code == 1
    assert text in done.err
    assert done.folders == []


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, [(0, 1)] * 4), (2, [(0, 2), (0, 2), (1, 2), (1, 2)]), (1, [(0, 4), (1, 4), (2, 4), (3, 4)])],
)
def test_a_group_reads_the_same_rows(size: int | None, expected: list[tuple[int, int]]) -> None:
    found = [made(4, size, rank).distributed_sampler_kwargs for rank in range(4)]
    assert [(kwargs["rank"], kwargs["num_replicas"]) for kwargs in found] == expected


@pytest.mark.slow
def test_a_run_on_one_device_leaves_no_group_behind(tiny: list[str], cli: Callable[..., Any]) -> None:
    done, plain = cli("train", *tiny, *ONE, "trainer.precision=64"), cli("train", *tiny, "trainer.precision=64")
    assert done.code == 0, done.err
    assert not dist.is_initialized()
    for split in ("val", "test"):
        assert done.results[split] == pytest.approx(plain.results[split], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["callbacks.averaging=ema"], "callbacks.averaging=ema averages whole weights, and trainer.strategy leaves"),
        (["optim=schedule_free"], "optim averages whole weights, and trainer.strategy leaves each device a part"),
    ],
)
def test_what_needs_whole_weights_is_refused(
    words: list[str], text: str, tiny: list[str], cli: Callable[..., Any]
) -> None:
    run = cli("train", *tiny, *ONE, *words)
    assert run.code == 1
    assert text in run.err
