"""Lightning's Trainer from the keys under `trainer`: what they mean here, and what is checked before any long work."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.profilers import Profiler, PyTorchProfiler

from manyheads.errors import UserError, check_range
from manyheads.marks import builder
from manyheads.optim.budget import Budget

LIMITS = ("max_steps", "max_epochs", "max_minutes", "max_tokens")


def budget(settings: Mapping[str, Any]) -> Budget:
    """The run's budget out of the keys of `trainer`."""
    return Budget(**{name: settings.get(name) for name in LIMITS})


@builder
def trainer(
    *,
    folder: Path,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    checkpoint_io: CheckpointIO | None = None,
    fixed: bool | None = None,
    max_steps: int | None = None,
    max_epochs: int | None = None,
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    strategy: str = "auto",
    num_nodes: int = 1,
    precision: str = "auto",
    accumulate_grad_batches: int = 1,
    gradient_clip_val: float | None = 1.0,
    log_every_n_steps: int = 10,
    val_every_n_steps: int = 250,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    limit_test_batches: int | float | None = None,
    profile: bool = False,
    detect_anomaly: bool = False,
) -> pl.Trainer:
    """Makes the Trainer. Steps are optimizer steps everywhere, whatever the accumulation.

    `precision="auto"` takes bf16-mixed where the device does it well and 32-true elsewhere; `max_minutes` and
    `max_tokens` are watched by the LM's budget. Raises UserError for values out of range and devices that are not there.
    """
    check_range("trainer.accumulate_grad_batches", accumulate_grad_batches, 1)
    check_range("trainer.log_every_n_steps", log_every_n_steps, 1)
    check_range("trainer.val_every_n_steps", val_every_n_steps, 1)
    if gradient_clip_val is not None:
        check_range("trainer.gradient_clip_val", gradient_clip_val, 0)
    check_devices(accelerator, devices)
    _quiet()
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        num_nodes=num_nodes,
        precision=choose_precision(precision, accelerator),  # type: ignore[arg-type]
        callbacks=list(callbacks),
        logger=list(loggers),
        max_steps=-1 if max_steps is None else max_steps,
        max_epochs=-1 if max_epochs is None else max_epochs,
        accumulate_grad_batches=accumulate_grad_batches,
        gradient_clip_val=gradient_clip_val,
        log_every_n_steps=log_every_n_steps,
        val_check_interval=val_every_n_steps * accumulate_grad_batches,
        check_val_every_n_epoch=None,
        limit_train_batches=limit_train_batches,
        limit_val_batches=limit_val_batches,
        limit_test_batches=limit_test_batches,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=fixed,
        plugins=[checkpoint_io] if checkpoint_io else None,
        profiler=_profiler(folder) if profile else None,
        detect_anomaly=detect_anomaly,
        default_root_dir=folder,
        enable_autolog_hparams=False,
    )


def choose_precision(precision: str, accelerator: str) -> str:
    """The precision that `auto` stands for on this machine."""
    if precision != "auto":
        return precision
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def check_devices(accelerator: str, devices: int | str | list[int]) -> None:
    """Raises UserError when the devices asked for are not there."""
    if accelerator in ("gpu", "cuda"):
        there = torch.cuda.device_count()
        wanted = len(devices) if isinstance(devices, list) else devices
        if not there:
            raise UserError(
                f"trainer.accelerator={accelerator}: no GPU is visible. Set trainer=cpu or trainer.accelerator=auto."
            )
        if isinstance(wanted, int) and wanted > there:
            raise UserError(
                f"trainer.devices={devices}: {there} GPU(s) are visible. Set trainer.devices={there} or less."
            )
    if isinstance(devices, int) and not isinstance(devices, bool):
        check_range("trainer.devices", devices, -1)
        if devices == 0:
            raise UserError("trainer.devices=0: set at least 1, or auto.")


def _profiler(folder: Path) -> Profiler:
    """A trace of a few steps for chrome://tracing or ui.perfetto.dev."""
    return PyTorchProfiler(
        dirpath=folder / "profile", filename="trace", export_to_chrome=True, sort_by_key="cpu_time_total"
    )


def _quiet() -> None:
    """Lightning's remarks on what our own header says better."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        "does not have many workers",
        "The number of training batches",
        "`isinstance\\(treespec, LeafSpec\\)`",
    ):
        warnings.filterwarnings("ignore", message=f".*{text}")
