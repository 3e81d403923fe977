"""The whole stack (Lightning, callbacks, CSV, W&B offline, live line) over a bare PyTorch loop on the same network and data.

    python -m benchmarks.throughput [ROUNDS [STEPS]]

Both are measured in one process, interleaved: a round is one bare loop and one run. Prints tokens/s of each and the ratio
pair by pair; the goal is 0.97 at steps of about 0.1 s.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time

import torch
from torch import nn
from torch.utils.data import DataLoader

import manyheads
from manyheads.build import CONF_DIR, build
from manyheads.data.batches import PackedRows, as_is
from manyheads.data.packing import cut, pack
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.store import tokenize
from manyheads.load import rebuild
from manyheads.run.compose import compose

SETTINGS = [
    "trainer.val_every_n_steps=1000000",
    "callbacks.samples=0",
    "trainer.limit_val_batches=1",
    "logger.wandb.mode=offline",
]


def bare(steps: int) -> float:
    """Tokens/s of a loop written by hand: forward, mean loss, backward, clip, step, schedule."""
    cfg = compose("train", [*SETTINGS, f"trainer.max_steps={steps}"], CONF_DIR).config
    torch.manual_seed(1)
    source = build(cfg.data, "data")
    tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
    store = tokenize(source, "train", tokenizer)
    segments = cut(store.document_starts, cfg.task.seq_len)
    rows = PackedRows(store, segments, pack(segments.length, cfg.task.seq_len), end_id=tokenizer.end_id, scoring=False)
    order = ResumableBatchSampler(len(rows), cfg.task.batch_size, seed=1, shuffle=True)
    network, head = rebuild(cfg, tokenizer)
    module = nn.ModuleDict({"network": network, "head": head})
    optimizer, schedule = build(cfg.optim, "optim", module=module)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, step / steps))
    tokens, started = 0, time.perf_counter()
    for step, batch in enumerate(DataLoader(rows, batch_sampler=order, collate_fn=as_is)):
        if step == steps:
            break
        output = head(network(batch), batch)
        (output.loss_sum / output.count).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        tokens += int(output.count)
    return tokens / (time.perf_counter() - started)


def whole(steps: int) -> float:
    """Tokens/s of `manyheads.train`, validation apart."""
    results = manyheads.train(overrides=[*SETTINGS, f"trainer.max_steps={steps}"])
    rate = results["perf"]["tokens_per_sec"]
    assert rate is not None
    return rate


def main(rounds: int = 5, steps: int = 100) -> None:
    """Prints one line per round and the medians."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        bare(5), whole(5)
        pairs = []
        for _ in range(rounds):
            pairs.append((bare(steps), whole(steps)))
            print(
                f"bare {pairs[-1][0]:,.0f} tokens/s, whole {pairs[-1][1]:,.0f} tokens/s, ratio {pairs[-1][1] / pairs[-1][0]:.3f}"
            )
        ratios = [w / b for b, w in pairs]
        print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), goal 0.97")
        os.chdir("/")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
