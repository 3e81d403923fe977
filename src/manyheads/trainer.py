"""Lightning's Trainer from the keys under `trainer`: what they mean here, and what is checked before any long work."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.plugins.precision import DoublePrecision
from pytorch_lightning.profilers import PassThroughProfiler

from manyheads import ranks
from manyheads.allocator import keep_freed_memory
from manyheads.callbacks.trace import Trace
from manyheads.errors import UserError, check_choice, check_count, check_range
from manyheads.marks import builder
from manyheads.optim.budget import Budget
from manyheads.run.folder import RunFolder
from manyheads.strategy import OWN, make_strategy
from manyheads.threads import set_threads

LIMITS = ("max_steps", "max_epochs", "max_minutes", "max_tokens")
SHORT = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", *SHORT)
"""Lightning's, and the short names that it had before."""


def budget(settings: Mapping[str, Any]) -> Budget:
    """The run's budget out of the keys of `trainer`."""
    limits: dict[str, Any] = {name: settings.get(name) for name in LIMITS}
    return Budget(**limits)


@builder
def trainer(
    *,
    folder: Path,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    checkpoint_io: CheckpointIO | None = None,
    fixed: bool | None = None,
    max_steps: int | None = None,
    max_steps_of: Mapping[str, int] | None = None,
    max_epochs: int | None = None,
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    strategy: str = "auto",
    strategy_options: Mapping[str, Any] | None = None,
    num_nodes: int = 1,
    precision: int | str = "auto",
    accumulate_grad_batches: int = 1,
    gradient_clip_val: float | None = 1.0,
    log_every_n_steps: int = 10,
    val_every_n_steps: int = 250,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    limit_test_batches: int | float | None = None,
    profile: bool = False,
    detect_anomaly: bool = False,
    threads: int | None = None,
) -> pl.Trainer:
    """Makes the Trainer. Steps are optimizer steps everywhere, whatever the accumulation.

    Args:
        folder: the run's.
        callbacks: in the order in which they run.
        loggers: those that were chosen.
        checkpoint_io: what writes checkpoints.
        fixed: whether only algorithms are used that give the same result each time.
        max_steps: optimizer steps after which the run ends; None: no such limit. The first limit that is reached counts.
        max_steps_of: of a recipe for several networks: `max_steps` for each choice of model, where `max_steps` is None.
        max_epochs: passes over the training split after which it ends.
        max_minutes: minutes of training after which it ends, whatever was before a resume included.
        max_tokens: tokens after which it ends, padding left out.
        accelerator: cpu, gpu or another name of Lightning's; auto: a GPU where there is one.
        devices: how many of them, or which, as Lightning takes it.
        strategy: how several devices work together: ddp, each with all weights; fsdp, each with a part of them, which it
            gets whole to compute with; tensor_parallel, each computing a part of each layer; or another name of Lightning's.
        strategy_options: arguments of that strategy's class: see `make_strategy`.
        num_nodes: machines.
        precision: as Lightning names it; auto: bf16-mixed where the device does it well, 32-true elsewhere.
        accumulate_grad_batches: batches in one optimizer step.
        gradient_clip_val: the largest norm of a step's gradient (Pascanu et al. 2013, algorithm 1); None or 0: any.
        log_every_n_steps: optimizer steps between two rows of the training's metrics.
        val_every_n_steps: optimizer steps between two validations; one more is at the end.
        limit_train_batches: so many batches in an epoch, or such a share of them; None: all.
        limit_val_batches: the same of a validation.
        limit_test_batches: the same of the test; baselines, which are scored on all of it, are left out then.
        profile: whether a trace of a few steps is written into the run folder.
        detect_anomaly: whether torch looks for the operation that made a NaN; slow.
        threads: how many torch computes with on a CPU; None: its own number, fewer where others use the cores.

    Raises UserError for values out of range and devices that are not there.
    """
    check_count("trainer.accumulate_grad_batches", accumulate_grad_batches)
    check_count("trainer.log_every_n_steps", log_every_n_steps)
    check_count("trainer.val_every_n_steps", val_every_n_steps)
    check_count("trainer.num_nodes", num_nodes)
    check_precision(precision)
    if gradient_clip_val is not None:
        check_range("trainer.gradient_clip_val", gradient_clip_val, 0)
    limits = {"train": limit_train_batches, "val": limit_val_batches, "test": limit_test_batches}
    for split, limit in limits.items():
        _check_limit(f"trainer.limit_{split}_batches", limit)
    devices, num_nodes = ranks.layout(devices, num_nodes)
    check_devices(accelerator, devices)
    chosen, made_strategy = choose_precision(precision, accelerator), make_strategy(strategy, strategy_options)
    if strategy in OWN and chosen == "16-mixed":
        raise UserError(  # each rank would scale its part of the gradients by itself
            f"trainer.precision={precision} does not go with trainer.strategy={strategy}. Set bf16-mixed or 32-true."
        )
    _quiet()
    made = _lightnings(
        accelerator=accelerator,
        devices=devices,
        strategy=made_strategy,
        num_nodes=num_nodes,
        # the name is refused beside ModelParallelStrategy, what it stands for is not
        precision=None if chosen == "64-true" else chosen,  # type: ignore[arg-type]
        callbacks=[*callbacks, *([Trace(RunFolder(folder).trace)] if profile else [])],
        logger=list(loggers),
        max_steps=-1 if max_steps is None else max_steps,
        max_epochs=-1 if max_epochs is None else max_epochs,
        accumulate_grad_batches=accumulate_grad_batches,
        gradient_clip_val=gradient_clip_val,
        log_every_n_steps=log_every_n_steps,
        val_check_interval=val_every_n_steps * accumulate_grad_batches,  # in its place: _EpochLoop
        check_val_every_n_epoch=None,
        limit_train_batches=limit_train_batches,
        limit_val_batches=limit_val_batches,
        limit_test_batches=limit_test_batches,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=strategy not in OWN,  # what is gathered in it could not be trained afterwards
        deterministic=fixed,
        plugins=[*([checkpoint_io] if checkpoint_io else []), *([DoublePrecision()] if chosen == "64-true" else [])],
        detect_anomaly=detect_anomaly,
        profiler=_NoProfiler(),
        default_root_dir=folder,
        enable_autolog_hparams=False,
    )
    set_threads(threads)
    keep_freed_memory()
    made.fit_loop.epoch_loop = _EpochLoop(made, val_every_n_steps, max_steps=made.max_steps)
    return made


class _NoProfiler(PassThroughProfiler):
    """Lightning's own enters a new context around each hook of each callback, some seventy in a step."""

    _nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:
        return self._nothing


class _EpochLoop(_TrainingEpochLoop):
    """Validates after every n optimizer steps. Lightning counts batches, which drift away from the steps under
    accumulation: the last step of an epoch has what batches are left. It also reads the signature of `training_step` anew
    in every step."""

    def __init__(self, trainer: pl.Trainer, val_every_n_steps: int, max_steps: int) -> None:
        super().__init__(trainer, max_steps=max_steps)
        self.val_every_n_steps = val_every_n_steps
        self.owes_validation = False  # of the step after which a resumed run goes on

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Makes the validation that a resumed run owes, before its first step."""
        super().on_run_start(data_fetcher)
        if self.owes_validation:
            self.owes_validation = False
            self.val_loop.restarting = False  # it is a whole one, from its first batch on
            self.trainer.validating = True
            self.val_loop.run()
            self.trainer.training = True

    def _build_kwargs(self, kwargs: OrderedDict[str, Any], batch: Any, batch_idx: int) -> OrderedDict[str, Any]:
        kwargs["batch"], kwargs["batch_idx"] = batch, batch_idx
        return kwargs

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        if not self._should_check_val_epoch():
            return False
        if self.trainer.should_stop and self.trainer.fit_loop._can_stop_early:
            return True
        return not self._should_accumulate() and self.global_step % self.val_every_n_steps == 0


def _lightnings(**settings: Any) -> pl.Trainer:
    """Lightning's Trainer; what does not go together on this machine it knows best."""
    try:
        return pl.Trainer(**settings)
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        asked = " ".join(
            f"trainer.{key}={settings[key]}" for key in ("accelerator", "devices", "strategy", "precision")
        )
        raise UserError(f"{asked}: {' '.join(str(error).split())[:300]}") from error


def check_precision(precision: int | str) -> None:
    """Raises UserError for a precision that Lightning does not have."""
    check_choice("trainer.precision", str(precision), PRECISIONS)


def choose_precision(precision: int | str, accelerator: str) -> str:
    """Lightning's name of a precision; `auto` is what this machine does well."""
    if precision != "auto":
        name = SHORT.get(str(precision), str(precision))
        if name == "16-mixed" and (accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())):
            raise UserError(f"trainer.precision={precision}: a CPU does not do that. Set bf16-mixed, 32-true or auto.")
        return name
    on_gpu = is_on_gpu(accelerator) and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def is_on_gpu(accelerator: str) -> bool:
    """Whether a run with this accelerator computes on a GPU, here or where it is planned for."""
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())


def check_devices(accelerator: str, devices: int | str | list[int]) -> None:
    """Raises UserError when the devices asked for are not there."""
    check_choice("trainer.accelerator", accelerator, ("auto", "gpu", *AcceleratorRegistry.available_accelerators()))
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


def _check_limit(key: str, limit: int | float | None) -> None:
    """A whole number counts batches, a fraction is a share of them."""
    if isinstance(limit, float):
        check_range(key, limit, 0, 1, hint="A whole number counts batches.")
    if limit is not None and limit <= 0:
        raise UserError(f"{key}={limit}: set a number above 0, or null for all batches.")


def _quiet() -> None:
    """Lightning's remarks on what our own header says better."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        "does not have many workers",
        "The number of training batches",
        "It is recommended to use `self.log\\(.*sync_dist=True",
        "when using `ckpt_path`, callbacks used to create",  # a resumed run may leave some out, and says which keys changed
        "`isinstance\\(treespec, LeafSpec\\)`",
    ):
        warnings.filterwarnings("ignore", message=f".*{text}")
