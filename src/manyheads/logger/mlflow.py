"""MLflow: one MLflow run for one run folder, in a store under outputs/ or on a server that nobody waits for."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from manyheads.logger.base import RunLogger
from manyheads.logger.delivery import Delivery
from manyheads.logger.mlflow_store import MOST_METRICS, MlflowStore, Point, is_hopeless, place_of, quiet_client
from manyheads.marks import builder, needs
from manyheads.run.results import Status
from manyheads.run.secrets import mask_said

_log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0
"""How long the end of a run may wait for what the store has not taken yet."""

STATUSES: dict[Status, str] = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "running": "RUNNING"}
_LONGEST_REASON = 200


@needs("mlflow", "sqlalchemy", "alembic", pip="mlflow-skinny sqlalchemy alembic")
@builder
def mlflow(
    *,
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    tags: Sequence[str] = (),
    mlflow_id: str | None = None,
    history: Iterable[Mapping[str, float]],
    tracking_uri: str | None = None,
    experiment: str | None = None,
) -> Logger:
    """The logger of one run.

    Args:
        folder: the run folder.
        name: the name that MLflow shows.
        config: its leaves become params, all of it the artifact config.yaml; it is sent and written as it is.
        tags: become one tag, with commas in between.
        mlflow_id: the tag `manyheads.id` of an earlier MLflow run to continue; None starts one.
        history: the rows that a resumed run had logged, each with a `step`; what the store lacks of them is sent.
        tracking_uri: a server, a database, or a folder; None takes $MLFLOW_TRACKING_URI, or outputs/mlflow.
        experiment: the MLflow experiment; None takes $MLFLOW_EXPERIMENT_NAME, or `manyheads`.

    Raises UserError for a store that MLflow no longer has.
    """
    quiet_client()  # imported here and not in the thread that uses it, while others import too
    run_id = mlflow_id or secrets.token_hex(8)
    experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "manyheads"
    place = place_of(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"), Path(folder).resolve())
    store = MlflowStore(place, experiment=experiment, name=name, run_id=run_id, config=config, tags=tags)
    return MlflowLog(store, name=experiment, run_id=run_id, history=history)


class MlflowLog(Logger, RunLogger):
    """Takes numbers and texts at optimizer steps and returns at once: a thread delivers them, and tries again where a
    server is away. Not Lightning's MLFlowLogger, whose calls wait for the server, for minutes when it is away.

    A resumed run goes on in the same MLflow run. MLflow cannot take back a number: of steps that are made again the first
    stays, and what the store lacks of the steps before comes from metrics.csv.
    """

    id_name = "mlflow_id"

    def __init__(
        self, store: MlflowStore, *, name: str, run_id: str, history: Iterable[Mapping[str, float]] = ()
    ) -> None:
        super().__init__()
        self._store, self._name, self._id = store, name, run_id
        self._history = list(history)
        self._delivery: Delivery | None = None
        self._closed = False
        self._last_step = 0

    @property
    def name(self) -> str:
        """The experiment."""
        return self._name

    @property
    def version(self) -> str:
        """The tag `manyheads.id` of the MLflow run."""
        return self._id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs at an optimizer step, by default the last one that was logged. Never raises and never waits."""
        self._last_step = self._last_step if step is None else step
        self._put_row(metrics, self._last_step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is sent at the start."""

    @rank_zero_only
    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any | None = None,
        step: int | None = None,
    ) -> None:
        """Logs rows of text as the artifact `<key>/<step>.txt`. Never raises and never waits."""
        step = self._last_step if step is None else step
        blocks = [
            "\n".join(f"{name}: {cell}" for name, cell in zip(columns or [], row, strict=True)) for row in data or []
        ]
        if blocks:
            self._put("text", (f"{key}/{step:08d}.txt", "\n\n".join(blocks) + "\n"))

    @rank_zero_only
    def log_page(self, key: str, path: Path, step: int | None = None) -> None:
        """Logs a page of HTML as the artifact `<key>/<step>.html`. Never raises and never waits."""
        step = self._last_step if step is None else step
        self._put("text", (f"{key}/{step:08d}.html", path.read_text(encoding="utf-8")))

    @rank_zero_only
    def close(self, status: Status = "done") -> None:
        """Ends the MLflow run as finished, failed or, for a run that was told to stop, killed. A second call does nothing.
        Never raises, and waits at most FINISH_SECONDS."""
        delivery, self._delivery = self._delivery, None
        if self._closed or delivery is None:
            self._closed = True
            return
        self._closed = True
        delivery.put("end", STATUSES[status])
        if delivery.close(FINISH_SECONDS):
            _log.warning(
                "MLflow did not take everything that was logged; metrics.csv in the run folder has all numbers."
            )

    def _put_row(self, metrics: Mapping[str, Any], step: int) -> None:
        now = time.time_ns() // 1_000_000
        for name, value in metrics.items():
            self._put("points", Point(name, float(value.item() if isinstance(value, Tensor) else value), now, step))

    def _put(self, kind: str, item: Any) -> None:
        if self._closed:
            return
        if self._delivery is None:
            self._delivery = Delivery(self._store.send, hopeless=is_hopeless, on_trouble=_tell, most=MOST_METRICS)
            for row in self._history:
                self._put_row({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
        self._delivery.put(kind, item)


def _tell(error: Exception) -> None:
    reason = mask_said(" ".join(f"{type(error).__name__}: {error}".split()))[:_LONGEST_REASON]
    _log.warning("MLflow failed (%s); the training goes on, and what can be delivered later will be.", reason)
