"""The loggers of a run: the CSV file, and one for each node under `logger`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from manyheads.build import target_of
from manyheads.errors import UserError
from manyheads.logger.base import RunLogger
from manyheads.logger.csv import CsvLog
from manyheads.run.folder import RunFolder
from manyheads.run.record import Record
from manyheads.run.results import Status
from manyheads.run.resume import Resumed
from manyheads.signature import parameters

LIGHTNINGS_FOLDERS = ("save_dir", "root_dir")
"""Where Lightning's own loggers write, by their arguments: into the run's folder, whatever a config from elsewhere says."""


def loggers_of(cfg: DictConfig, make: Any, run: RunFolder, record: Record, resumed: Resumed | None) -> list[Logger]:
    """The CSV file, and one logger for each node under `logger`."""
    table = CsvLog(run.path)
    history: list[dict[str, float]] = []
    if resumed:
        table.drop_after(resumed.step)
        history = table.rows()
    live = {"folder": run.path, "name": cfg.name or run.path.name, "tags": list(cfg.tags)}
    live |= {"config": record.public_config(), "history": history, **record.logger_ids}
    live |= {"resumed_step": resumed.step if resumed else None}
    live |= dict.fromkeys(LIGHTNINGS_FOLDERS, str(run.path))
    return [table, *(_logger(node, f"logger.{name}", cfg, make, live) for name, node in cfg.logger.items() if node)]


def _logger(node: DictConfig, key: str, cfg: DictConfig, make: Any, live: dict[str, Any]) -> Logger:
    """The logger of a node, given what of ours its signature has: one of Lightning's knows no folder."""
    known = parameters(target_of(node, key, cfg.allow))
    try:
        return make(node, key, **{name: value for name, value in live.items() if name in known})
    except ModuleNotFoundError as error:
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error


def close_all(loggers: Sequence[Logger], status: Status) -> None:
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.close(status)
