"""Guards a rank that computes another rank's heads, and gradients that are a rank's share or are counted twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.model.decoder import Decoder
from manyheads.model.tensor_parallel import check_divides

PROGRAM = """
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from manyheads import sharded
from manyheads.batch import IGNORE
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.tensor_parallel import parallelize

SHAPES = [
    {},
    {"num_kv_heads": 2, "qk_norm": True, "window": 3},
    {"activation": "gelu", "norm": "layernorm", "bias": True, "positions": "learned", "max_positions": 9},
    {"block": "parallel", "tie_embeddings": False, "attention_softcap": 5.0},
]

def made(shape, dtype):
    torch.manual_seed(1)
    network = Decoder(vocab_size=13, dim=16, num_layers=2, num_heads=4, init_std=0.2, **shape).to(dtype)
    return network, NextToken(dim=16, vocab_size=13, weight=network.output_weight).to(dtype)

def computed(network, head, batch):
    hidden = network(batch)
    head(hidden, batch).loss_sum.backward()
    modules = torch.nn.ModuleList([network, head])
    return head.logits(hidden).detach(), [sharded.whole(p.grad) for p in modules.parameters()]

def largest(tensor):
    return tensor.abs().max().item()

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
ids = torch.randint(0, 13, (3, 10), generator=torch.Generator().manual_seed(0))
labels = ids[:, 1:].clone()
labels[1, 4:] = IGNORE
batch = {"input_ids": ids[:, :-1], "labels": labels}
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    for shape in SHAPES:
        logits, gradients = computed(*made(shape, dtype), batch)
        network, head = made(shape, dtype)
        parallelize(network, mesh)
        matrices = sum(p.numel() for p in network.blocks.parameters() if p.ndim == 2)
        mine = sum(sharded.local(p).numel() for p in network.blocks.parameters() if p.ndim == 2)
        assert 2 * mine == matrices, (mine, matrices)
        found, parts = computed(network, head, batch)
        assert largest(found - logits) < tolerance * largest(logits), (shape, largest(found - logits))
        assert len(parts) == len(gradients)
        scale = max(map(largest, gradients))  # that of a key's bias is zero
        for got, want in zip(parts, gradients, strict=True):
            assert largest(got - want) < tolerance * scale, (shape, tuple(want.shape), largest(got - want))
dist.destroy_process_group()
"""


@pytest.mark.ddp
def test_two_ranks_have_the_logits_and_gradients_of_one(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(tmp_path / "program.py")]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_heads": 3, "dim": 12}, "model.num_heads=3 is no multiple of 2, .* Set model.num_heads=2 or"),
        ({"num_kv_heads": 1}, "model.num_kv_heads=1 is no multiple of 2, .* Set model.num_kv_heads=2 or"),
        ({"ff_dim": 7}, "model.ff_dim=7 is no multiple of 2, .* Set model.ff_dim=6 or"),
        ({"sinks": True}, "model.sinks=True does not go .* Set model.sinks=false."),
        ({"positions": "alibi"}, "model.positions=alibi does not go .* Set model.positions=rotary."),
        ({"num_experts": 4}, "model.num_experts=4 does not go .* Set model.num_experts=null."),
        ({"dropout": 0.1}, "model.dropout=0.1 does not go .* Set model.dropout=0."),
    ],
)
def test_what_cannot_be_shared_out_is_named(settings: dict[str, Any], text: str) -> None:
    network = Decoder(**{"vocab_size": 13, "dim": 16, "num_layers": 1, "num_heads": 4, **settings})
    with pytest.raises(UserError, match=text):
        check_divides(network, 2)
