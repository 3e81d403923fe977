"""One run in an MLflow store: found or made, and given numbers, texts and its end. Every call may wait for a server."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from manyheads.errors import UserError
from manyheads.logger.base import flat

REQUEST_SECONDS = 10
"""How long MLflow waits for an answer, unless $MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise."""

ID_TAG = "manyheads.id"

MOST_METRICS = 1000  # in one call, as the next three a limit of MLflow's
_MOST_PARAMS = 100
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
_NOT_IN_A_NAME = re.compile(r"[^\w\-. /]")
_COMES_BACK = (408, 429)  # HTTP's "took too long" and "too many requests"


class Place(NamedTuple):
    """Where an MLflow store is."""

    uri: str
    artifacts: str | None  # where a new experiment puts its files; None: where the store says


class Point(NamedTuple):
    """One number of a run."""

    name: str
    value: float
    milliseconds: int  # since 1970
    step: int


def place_of(uri: str | None, run_folder: Path) -> Place:
    """The store that `uri` names: a server, a database, or a folder that holds a database and the files; None is `mlflow`
    in the outputs folder around `run_folder`, so that all runs share it.

    Raises UserError for a `file:` URI: MLflow has given up its store of plain files.
    """
    if uri is not None and uri.startswith("file:"):
        raise UserError(
            f"logger.mlflow.tracking_uri={uri}: MLflow no longer keeps runs as plain files. Set a folder without file:, "
            "which then holds a database, or the address of a server."
        )
    if uri is not None and (":" in uri or uri in ("databricks", "uc")):
        return Place(uri, None)
    outputs = next((each for each in run_folder.parents if each.name == "outputs"), run_folder.parent)
    folder = outputs / "mlflow" if uri is None else Path(uri).expanduser().absolute()
    return Place(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))


def quiet_client() -> Any:
    """The module mlflow, set to tell nothing to its makers, to say nothing on the screen and not to wait for long."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # what its own parts are told about each other
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mlflow\.|sqlalchemy\.")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def is_hopeless(error: Exception) -> bool:
    """Whether a call that failed so will always fail so: the store answered, and refused."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        code = int(error.get_http_status_code())
        return 400 <= code < 500 and code not in _COMES_BACK
    return not isinstance(error, OSError)


class MlflowStore:
    """Writes to one MLflow run, which is opened by the first call; for one thread."""

    def __init__(
        self, place: Place, *, experiment: str, name: str, run_id: str, config: Mapping[str, Any], tags: Sequence[str]
    ) -> None:
        """`run_id` is the value of the tag `manyheads.id`, by which a run that is already there is found."""
        self._place, self._experiment, self._name, self._id = place, experiment, name, run_id
        self._config, self._tags = dict(config), list(tags)
        self._client: Any = None
        self._run = ""  # MLflow's own id of the run
        self._last: dict[str, int] = {}  # the newest step of each number in the store
        self._refusal: Exception | None = None

    def send(self, kind: str, items: Sequence[Any]) -> None:
        """Writes `points`, `text`s (file, content) or the `end` (a status of MLflow's). Raises whatever MLflow raises."""
        if self._refusal is not None:
            raise self._refusal
        if self._client is None:
            try:
                self._open()
            except Exception as error:
                self._refusal = error if is_hopeless(error) else None
                raise
        {"points": self._points, "text": self._texts, "end": self._end}[kind](items)

    def _points(self, points: Sequence[Point]) -> None:
        """Numbers at steps that the store does not have yet: it keeps two for one step side by side."""
        from mlflow.entities import Metric

        last, new = dict(self._last), []
        for point in points:
            name = _NOT_IN_A_NAME.sub("_", point.name)
            if point.step > last.get(name, -1):
                last[name] = point.step
                new.append(Metric(name, point.value, point.milliseconds, point.step))
        if new:
            self._client.log_batch(self._run, metrics=new)
        self._last = last

    def _texts(self, texts: Sequence[tuple[str, str]]) -> None:
        for file, content in texts:
            self._client.log_text(self._run, content, file)

    def _end(self, statuses: Sequence[str]) -> None:
        self._client.set_terminated(self._run, statuses[-1])

    def _open(self) -> None:
        client = quiet_client().MlflowClient(tracking_uri=self._place.uri)
        if self._place.artifacts:
            Path(self._place.artifacts).mkdir(parents=True, exist_ok=True)
        experiment = self._experiment_id(client)
        found = client.search_runs([experiment], f"tags.`{ID_TAG}` = '{self._id}'", max_results=1)
        run = found[0] if found else client.create_run(experiment, run_name=self._name, tags=dict(self._all_tags()))
        self._run = run.info.run_id
        if found:
            client.update_run(self._run, status="RUNNING")
            histories = {name: client.get_metric_history(self._run, name) for name in run.data.metrics}
            self._last = {name: max(point.step for point in points) for name, points in histories.items()}
        self._describe(client, run.data.params)
        self._client = client

    def _describe(self, client: Any, known: Mapping[str, str]) -> None:
        """The config: each leaf as a param, of which MLflow lets none change, and the whole as it is now in a file."""
        from mlflow.entities import Param

        leaves = {_NOT_IN_A_NAME.sub("_", name): str(value)[:_LONGEST_PARAM] for name, value in flat(self._config)}
        new = [Param(name, value) for name, value in leaves.items() if name not in known]
        for i in range(0, len(new), _MOST_PARAMS):
            client.log_batch(self._run, params=new[i : i + _MOST_PARAMS])
        client.log_text(self._run, yaml.safe_dump(self._config, sort_keys=False), "config.yaml")

    def _experiment_id(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return client.create_experiment(self._experiment, artifact_location=self._place.artifacts)
            except MlflowException:
                found = client.get_experiment_by_name(self._experiment)  # another run was faster
                if found is None:
                    raise
        return found.experiment_id

    def _all_tags(self) -> Iterator[tuple[str, str]]:
        run = self._config.get("run", {})
        yield ID_TAG, self._id
        yield "manyheads.folder", str(run.get("folder", self._name))
        if self._tags:
            yield "tags", ", ".join(self._tags)[:_LONGEST_TAG]
        if run.get("git_commit"):
            yield "mlflow.source.git.commit", run["git_commit"]
