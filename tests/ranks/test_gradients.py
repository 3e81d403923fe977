"""Guards gradients that are a mean of the ranks' means: two real gloo processes hold rows of unequal lengths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from manyheads.batch import IGNORE

PROGRAM = """
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

sys.path.insert(0, sys.argv[1])
from ragged import batches, lm

rank, dtype, folder = int(__import__("os").environ["RANK"]), sys.argv[2], Path(sys.argv[3])
module = lm(getattr(torch, dtype))
trainer = pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", precision={"float32": "32-true", "float64": "64-true"}[dtype],
    max_steps=1, accumulate_grad_batches=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False, default_root_dir=folder,
)
trainer.fit(module, torch.utils.data.DataLoader(batches(rank), batch_size=None))
torch.save([p.grad for p in module.parameters()], folder / f"{rank}.pt")
"""

RAGGED = """
import torch

from manyheads.batch import IGNORE
from manyheads.head.next_token import NextToken
from manyheads.lm import LM
from manyheads.metric.loss import Loss
from manyheads.model.decoder import Decoder
from manyheads.optim.base import Optimization
from manyheads.optim.budget import Budget
from manyheads.optim.schedule import Course

LENGTHS = (9, 1, 4, 7, 2, 9, 3, 5)

def rows():
    ids = torch.randint(0, 13, (8, 10), generator=torch.Generator().manual_seed(0))
    labels = ids[:, 1:].clone()
    for row, length in enumerate(LENGTHS):
        labels[row, length:] = IGNORE
    return {"input_ids": ids[:, :-1], "labels": labels, "num_bytes": torch.tensor(LENGTHS)}

def batches(rank):  # one rank has three times the rows of the other, in two micro-batches of unequal size
    cuts = ((0, 1), (1, 2)) if rank == 0 else ((2, 6), (6, 8))
    return [{name: value[start:end] for name, value in rows().items()} for start, end in cuts]

class Keep(torch.optim.SGD):
    def zero_grad(self, set_to_none=True):
        pass

def lm(dtype):
    torch.manual_seed(1)
    network = Decoder(vocab_size=13, dim=8, num_layers=1, num_heads=2).to(dtype)
    head = NextToken(dim=8, vocab_size=13, weight=network.output_weight)
    made = lambda module: Optimization(Keep(module.parameters(), lr=0.1), Course(schedule="constant", warmup_steps=0))
    return LM(network=network, head=head, metrics=(Loss,), optimization=made, budget=Budget(max_steps=1))
"""


@pytest.mark.ddp
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_two_ranks_have_the_one_batch_gradient(dtype: str, tolerance: float, tmp_path: Path) -> None:
    """The oracle is the gradient of torch's own mean cross-entropy over the labels of all eight rows at once."""
    (tmp_path / "ragged.py").write_text(RAGGED)
    (tmp_path / "program.py").write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [str(tmp_path / "program.py"), str(tmp_path), dtype, str(tmp_path)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*launcher, *words], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr

    scope: dict[str, object] = {}
    exec(RAGGED, scope)
    module, rows = scope["lm"](getattr(torch, dtype)), scope["rows"]()  # type: ignore[operator]
    logits = module.head.logits(module.network(rows))
    F.cross_entropy(logits.flatten(0, 1), rows["labels"].flatten(), ignore_index=IGNORE).backward()
    wanted = [p.grad for p in module.parameters()]
    scale = max(gradient.abs().max().item() for gradient in wanted)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(found) == len(wanted)
        for got, want in zip(found, wanted, strict=True):
            assert (got - want).abs().max().item() <= tolerance * scale
