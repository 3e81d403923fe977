"""Guards system figures that are constant, of another process, or at steps that no row of training has."""

from __future__ import annotations

import os
from typing import Any

import psutil
import torch

from manyheads.callbacks.system import SystemMetrics, of_the_gpu

NAMES = {"system/cpu_percent", "system/cpu_all_percent", "system/memory_bytes", "system/memory_all_percent"}


def test_figures_stand_in_the_rows_of_training(fit: Any, tiny: Any, rows: Any) -> None:
    kept: list[torch.Tensor] = []

    def use_memory(batch_idx: int) -> None:
        if batch_idx == 3:  # the fourth step holds 200 MB more from here on
            kept.append(torch.ones(50_000_000))

    before = psutil.Process(os.getpid()).memory_info().rss
    fit(tiny(on_step=use_memory), [SystemMetrics()], logger=rows, max_steps=6, limit_val_batches=0, log_every_n_steps=3)
    found = {step: row for step, row in rows.rows if any(name.startswith("system/") for name in row)}
    assert list(found) == [1, 3, 6]
    assert all(set(row) == {*NAMES, "train/tokens"} for row in found.values())
    memory = [found[step]["system/memory_bytes"] for step in (3, 6)]
    assert memory[1] - memory[0] > 150e6
    assert memory[0] > before / 2
    assert all(0 < row["system/memory_all_percent"] < 100 for row in found.values())
    assert found[6]["system/cpu_percent"] > 0


def test_a_processor_has_no_figures_of_a_gpu() -> None:
    assert of_the_gpu(torch.device("cpu")) == {}
