"""Guards weights that are whole on every rank, a resume that takes another rank's part, and what needs whole weights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from .ranks.test_gradients import RAGGED

PARTS = """
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

sys.path.insert(0, sys.argv[1])
from manyheads import sharded
from manyheads.fully_sharded import FullySharded
from ragged import batches, lm

rank = int(__import__("os").environ["RANK"])
module = lm(torch.float32)
total = sum(p.numel() for p in module.parameters())
trainer = pl.Trainer(
    accelerator="cpu", devices=2, strategy=FullySharded(), max_steps=1, accumulate_grad_batches=2, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    use_distributed_sampler=False, default_root_dir=sys.argv[1],
)
trainer.fit(module, torch.utils.data.DataLoader(batches(rank), batch_size=None))
mine = sum(sharded.local(p).numel() for p in module.parameters())
state = trainer.optimizers[0].state.values()
kept = sum(sharded.local(v).numel() for each in state for v in each.values() if v.ndim)
# one row of 13 is one more on the first rank
assert abs(mine - total / 2) <= 8, (mine, total)
assert kept == 2 * mine, (kept, mine)
"""


@pytest.mark.ddp
def test_each_rank_holds_half(tmp_path: Path) -> None:
    """Of the weights and of AdamW's two averages of each."""
    program = RAGGED.replace("class Keep(torch.optim.SGD)", "class Keep(torch.optim.AdamW)")
    (tmp_path / "ragged.py").write_text(program)
    (tmp_path / "program.py").write_text(PARTS)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    words = [str(tmp_path / "program.py"), str(tmp_path)]
    done = subprocess.run([*launcher, *words], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr


ONE = ["trainer=fsdp", "trainer.devices=1"]


@pytest.mark.slow
def test_a_run_on_one_device_leaves_no_group_behind(tiny: list[str], cli: Callable[..., Any]) -> None:
    done, plain = cli("train", *tiny, *ONE), cli("train", *tiny)
    assert done.code == 0, done.err
    assert not dist.is_initialized()
    for split in ("val", "test"):
        assert done.results[split] == pytest.approx(plain.results[split], rel=1e-5)


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
