"""The record of one run: written when it starts, whenever it ends, and into every checkpoint."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from manyheads import __version__, ranks
from manyheads.data.source import Source
from manyheads.lm import LM
from manyheads.logger.base import RunLogger
from manyheads.metric.base import Metric
from manyheads.metric.output import OutputMetric
from manyheads.run.folder import RunFolder
from manyheads.run.provenance import device_name, peak_memory_bytes, provenance
from manyheads.run.results import SCHEMA, Results, Status, write_results
from manyheads.run.resume import Resumed
from manyheads.run.secrets import mask, masked_config
from manyheads.tokenizer.base import Tokenizer

_LOGGER_ID = re.compile(r"[\w-]{1,64}")


LOGGER_IDS = ("wandb_id", "mlflow_id")
"""Where results.json keeps the id of the run in a logger's own store."""


class Record:
    """Collects what results.json and the checkpoints say about a run."""

    def __init__(
        self,
        folder: RunFolder,
        cfg: DictConfig,
        choices: dict[str, str],
        argv: Sequence[str],
        *,
        source: Source,
        tokenizer: Tokenizer,
        metrics: Sequence[type[Metric | OutputMetric]],
        notes: Sequence[str] = (),
        resumed: Resumed | None = None,
    ) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self._directions = {metric.name: "higher" if metric.higher_is_better else "lower" for metric in metrics}
        self.baselines: Mapping[str, Mapping[str, float]] = {}  # of the test split, once they are known
        self.samples: Mapping[str, float] = {}  # see `Results`
        self.signatures: Mapping[str, Mapping[str, str]] = {}  # of val and test, see `Results`
        self._config = masked_config(cfg)
        before = resumed.results["run"] if resumed and resumed.results else {}
        # of a folder from elsewhere: nothing that could be a path
        self.logger_ids = {name: _checked_id(before.get(name)) for name in LOGGER_IDS}
        self.loggers: Sequence[Logger] = ()
        self._seconds_before = float(before.get("wall_seconds") or 0.0)
        self._train_before = float(before.get("train_seconds") or 0.0)
        self._started = time.perf_counter()
        self.provenance = {
            **provenance(argv, cfg.seed),
            "name": cfg.name or folder.path.name,
            "tags": list(cfg.tags),
            **{group: choices.get(group, "custom") for group in ("task", "data", "model", "tokenizer", "optim")},
            "data_fingerprint": source.fingerprint,
            "tokenizer_fingerprint": tokenizer.fingerprint,
            "notes": [mask(note) for note in notes],
        }
        if before.get("started"):
            self.provenance["started"] = before["started"]
        self.provenance["resumes"] = []
        if before.get("command"):
            self.provenance["resumes"] = [*before.get("resumes", ()), self.provenance["command"]]
            self.provenance["command"] = before["command"]

    def for_checkpoint(self, config_text: str) -> Callable[[LM], dict[str, Any]]:
        """Makes what a checkpoint carries as things stand: enough to rebuild the run from the file alone."""
        whole = {"schema": SCHEMA, "version": __version__, "config": config_text, "tokenizer": self.tokenizer.to_json()}
        return lambda lm: {**whole, "provenance": {**self._state(lm), "peak_memory_bytes": peak_memory_bytes()}}

    def public_config(self) -> dict[str, Any]:
        """The config for a logger: plain, secrets hidden, with the run's name and its code's commit."""
        run = {name: self.provenance[name] for name in ("git_commit", "git_dirty", "command", "versions")}
        return {**self._config, "run": {"folder": self.folder.path.name, **run}}

    def _state(self, lm: LM) -> dict[str, Any]:
        """Where the run comes from, and how far it has come."""
        for logger in self.loggers:
            if isinstance(logger, RunLogger) and logger.id_name:
                self.logger_ids[logger.id_name] = str(logger.version)
        return {
            **self.provenance,
            **self.logger_ids,
            "folder": self.folder.path.name,
            "device": device_name(lm.device),
            "threads": torch.get_num_threads(),
            "devices": ranks.world(),
            "parameters": lm.num_parameters,
            "steps": lm.steps_done,
            "tokens_seen": lm.tokens_seen,
            "wall_seconds": round(self._seconds_before + time.perf_counter() - self._started, 3),
        }

    def results(
        self, status: Status, lm: LM, scores: dict[str, float] | None = None, train_seconds: float = 0.0
    ) -> Results:
        """What results.json says as things stand."""
        scores = scores or {}
        train_seconds += self._train_before
        run = {**self._state(lm), "status": status, "train_seconds": round(train_seconds, 3)}
        perf: dict[str, float] = {"peak_memory_bytes": peak_memory_bytes()}
        if train_seconds > 0:
            perf["tokens_per_sec"] = round(lm.tokens_seen / train_seconds, 1)
        return {
            "schema": SCHEMA,
            "val": _stage(scores, "val"),
            "test": _stage(scores, "test"),
            "perf": perf,
            "run": run,
            "baselines": {name: dict(found) for name, found in self.baselines.items()},
            "directions": self._directions,
            **({"samples": dict(self.samples)} if self.samples else {}),
            **(
                {"signatures": {part: dict(found) for part, found in self.signatures.items()}}
                if self.signatures
                else {}
            ),
        }  # type: ignore[typeddict-item]

    def write(
        self, status: Status, lm: LM, scores: dict[str, float] | None = None, train_seconds: float = 0.0
    ) -> Results:
        """Writes results.json as things stand."""
        results = self.results(status, lm, scores, train_seconds)
        if ranks.is_first():
            write_results(self.folder.results, results)
        return results


def _checked_id(value: Any) -> str | None:
    return value if isinstance(value, str) and _LOGGER_ID.fullmatch(value) else None


def _stage(scores: dict[str, float], stage: str) -> dict[str, float]:
    return {name.partition("/")[2]: value for name, value in scores.items() if name.startswith(stage + "/")}
