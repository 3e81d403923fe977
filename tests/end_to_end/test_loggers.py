"""Guards TensorBoard and MLflow beside metrics.csv: the same numbers at the same steps, and ended as the run ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from manyheads.lm import LM

Points = dict[str, list[tuple[int, float]]]


def of_csv(rows: list[dict[str, float]]) -> Points:
    found: Points = {}
    for row in rows:
        for name, value in row.items():
            if name != "step":
                found.setdefault(name, []).append((int(row["step"]), value))
    return found


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def of_tensorboard(found: EventAccumulator) -> Points:
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def in_float32(points: Points) -> Points:
    """Event files hold numbers of four bytes."""
    return {name: [(step, float(np.float32(value))) for step, value in each] for name, each in points.items()}


def how_it_ended(found: EventAccumulator) -> int:
    content = found.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    return HParamsPluginData.FromString(content).session_end_info.status


def mlflow_run(run_id: str) -> tuple[Any, Points]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{Path('outputs/mlflow/mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("manyheads")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`manyheads.id` = '{run_id}'")
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return run, {name: sorted((each.step, each.value) for each in points) for name, points in histories.items()}


@pytest.fixture
def stop_at_4() -> Iterator[Callable[[], None]]:
    """Lets SIGTERM come while step 4 is made, until what it gives is called."""
    patch, plain = pytest.MonkeyPatch(), LM.training_step

    def stop(self: LM, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    patch.setattr(LM, "training_step", stop)
    yield patch.undo
    patch.undo()


def fail(self: LM, batch: Any, batch_idx: int) -> Any:
    raise RuntimeError("planted")


def test_tensorboard_alone_has_the_rows_of_the_table(cli: Callable[..., Any], tiny: list[str]) -> None:
    """With what is logged on request: the norms of layers and the machine's figures stand in both too."""
    words = ["logger=tensorboard", "callbacks.norms_every_n_steps=3", "callbacks.system=true"]
    done = cli("train", *tiny, *words)
    assert (done.code, done.err) == (0, "")
    table, found = of_csv(done.metrics), events(done.folder)
    assert of_tensorboard(found) == in_float32(table)
    assert how_it_ended(found) == api_pb2.STATUS_SUCCESS  # type: ignore[attr-defined]
    assert [step for step, _ in table["norms/grad/blocks.0"]] == [3, 6]
    assert [step for step, _ in table["system/memory_bytes"]] == [1, 2, 4, 6]
    assert "samples/text_summary" in found.Tags()["tensors"]


def test_what_is_on_request_does_not_change_a_number(
    cli: Callable[..., Any], tiny: list[str], tiny_trained: Any
) -> None:
    done = cli("train", *tiny, "callbacks.norms_every_n_steps=1", "callbacks.system=true")
    assert done.results["test"] == tiny_trained.results["test"]
    assert [row["train/loss"] for row in done.metrics if "train/loss" in row] == [
        row["train/loss"] for row in tiny_trained.metrics if "train/loss" in row
    ]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_in_the_same_runs(
    cli: Callable[..., Any], tiny: list[str], stop_at_4: Callable[[], None]
) -> None:
    done = cli("train", *tiny, "logger=[tensorboard,mlflow]", "tags=[a,b]")
    assert done.code == 143
    run_id = done.results["run"]["mlflow_id"]
    assert how_it_ended(events(done.folder)) == api_pb2.STATUS_UNKNOWN  # type: ignore[attr-defined]
    assert mlflow_run(run_id)[0].info.status == "KILLED"
    stop_at_4()
    resumed = cli("train", f"resume={done.folder}")
    assert (resumed.code, resumed.err) == (0, "")
    assert done.results["run"]["mlflow_id"] == run_id
    table = of_csv(done.metrics)
    assert [step for step, _ in table["train/loss"]] == [1, 2, 4, 6]
    found = events(done.folder)
    assert of_tensorboard(found) == in_float32(table)
    assert how_it_ended(found) == api_pb2.STATUS_SUCCESS  # type: ignore[attr-defined]
    run, points = mlflow_run(run_id)
    assert points == table
    assert run.info.status == "FINISHED"
    assert (run.data.tags["tags"], run.data.tags["manyheads.folder"]) == ("a, b", done.folder.name)
    assert (run.data.params["model.dim"], run.data.params["model.norm"]) == ("16", "rmsnorm")
    artifacts = Path(run.info.artifact_uri)
    assert sorted(path.name for path in (artifacts / "samples").iterdir()) == ["00000003.txt", "00000006.txt"]


@pytest.mark.slow
def test_a_run_that_fails_ends_as_failed(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LM, "test_step", fail)
    done = cli("train", *tiny, "logger=[mlflow,tensorboard]")
    assert done.code == 1
    assert how_it_ended(events(done.folder)) == api_pb2.STATUS_FAILURE  # type: ignore[attr-defined]
    assert mlflow_run(done.results["run"]["mlflow_id"])[0].info.status == "FAILED"
    log = (done.folder / "train.log").read_text(encoding="utf-8")
    assert "RuntimeError: planted\nGo on from the last checkpoint with: manyheads train resume=" in log


@pytest.mark.slow
def test_a_server_that_is_away_costs_two_lines(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are in train.log too; the numbers are in metrics.csv."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = cli("train", *tiny, "logger=mlflow", "logger.mlflow.tracking_uri=http://127.0.0.1:9")
    assert done.code == 0, done.err
    assert done.results["run"]["status"] == "done"
    log = (done.folder / "train.log").read_text(encoding="utf-8")
    assert "warning: MLflow failed (MlflowException: API request to http://127.0.0.1:9/" in log
    assert "warning: MLflow did not take everything that was logged;" in log


def test_a_package_that_is_not_there_is_told_before_any_data_is_read(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "mlflow" else plain(name, *rest)
    )
    done = cli("train", "data=text", "data.path=nowhere", "tokenizer=byte", "logger=[tensorboard,mlflow]")
    assert done.code == 1
    assert done.err == (
        "error: logger.mlflow needs the package mlflow, which is not installed: "
        "pip install mlflow-skinny sqlalchemy alembic\n"
    )
