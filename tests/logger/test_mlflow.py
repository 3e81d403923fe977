"""A real MLflow store, read back by MLflow's own client; and servers that are away."""

from __future__ import annotations

import logging
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from manyheads.logger import mlflow as module
from manyheads.logger.mlflow import MlflowLog, mlflow

CONFIG: dict[str, Any] = {"model": {"dim": 8}, "seed": 1, "run": {"folder": "f", "git_commit": "abc"}}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables, which MLflow takes seconds to make."""
    folder = tmp_path_factory.mktemp("store") / "run"
    log = mlflow(folder=folder, name="n", config={}, history=[])
    log.log_metrics({"x": 1.0}, step=1)
    log.close()  # type: ignore[attr-defined]
    return folder.parent / "mlflow"


@pytest.fixture
def folder(empty_store: Path, tmp_path: Path) -> Path:
    """A run folder beside a store."""
    shutil.copytree(empty_store, tmp_path / "mlflow")
    return tmp_path / "run"


def make(folder: Path, **settings: Any) -> MlflowLog:
    made = mlflow(folder=folder, **{"name": "my run", "config": CONFIG, "history": [], "experiment": "e", **settings})
    assert isinstance(made, MlflowLog)
    return made


class Found:
    """The one run with an id."""

    def __init__(self, folder: Path, run_id: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{folder.parent / 'mlflow' / 'mlflow.db'}")
        experiment = self.client.get_experiment_by_name("e")
        assert experiment is not None
        (self.run,) = self.client.search_runs([experiment.experiment_id], f"tags.`manyheads.id` = '{run_id}'")

    def points(self) -> dict[str, list[tuple[int, float]]]:
        names = self.run.data.metrics
        histories = {name: self.client.get_metric_history(self.run.info.run_id, name) for name in names}
        return {name: sorted((point.step, point.value) for point in points) for name, points in histories.items()}

    def text(self, name: str) -> str:
        return (Path(self.run.info.artifact_uri) / name).read_text(encoding="utf-8")


def test_numbers_texts_and_config_are_in_the_store_at_their_steps(folder: Path) -> None:
    """Guards a step of the logger's own and a number twice at one step."""
    log = make(folder, tags=["a", "b"])
    log.log_metrics({"train/loss": 3.0, "train/tokens": 64}, step=10)
    log.log_metrics({"val/loss": float("nan"), "train/tokens": 64}, step=10)
    log.log_metrics({"train/loss": 2.0}, step=20)
    log.log_metrics({"test/loss": 1.5})
    log.log_text("samples", columns=["step", "text"], data=[["10", "<b>\n é"], ["10", "x"]], step=10)
    log.finalize("success")  # Lightning's word after fit; testing follows
    log.close()
    found = Found(folder, log.version)
    points = found.points()
    assert [step for step, _ in points.pop("val/loss")] == [10]
    assert points == {"train/loss": [(10, 3.0), (20, 2.0)], "train/tokens": [(10, 64.0)], "test/loss": [(20, 1.5)]}
    assert found.run.data.params == {"model.dim": "8", "seed": "1", "run.folder": "f", "run.git_commit": "abc"}
    tags = found.run.data.tags
    assert (tags["tags"], tags["manyheads.folder"], tags["mlflow.source.git.commit"]) == ("a, b", "f", "abc")
    assert found.run.info.run_name == "my run"
    assert found.text("config.yaml").startswith("model:\n  dim: 8\nseed: 1\n")
    assert found.text("samples/00000010.txt") == "step: 10\ntext: <b>\n é\n\nstep: 10\ntext: x\n"


@pytest.mark.parametrize(("status", "wanted"), [("done", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")])
def test_the_run_says_how_it_ended(status: Any, wanted: str, folder: Path) -> None:
    log = make(folder)
    log.log_metrics({"x": 1.0}, step=1)
    log.close(status)
    log.close("done")
    log.log_metrics({"x": 2.0}, step=2)
    found = Found(folder, log.version)
    assert found.run.info.status == wanted
    assert found.points() == {"x": [(1, 1.0)]}


def test_a_resumed_run_goes_on_in_the_same_run_without_a_gap_or_a_step_twice(folder: Path) -> None:
    """Step 3 was logged after the checkpoint of step 2; `b` at step 2 never reached the store. A param that changed keeps
    its first value, as MLflow has it; config.yaml tells the new one."""
    first = make(folder)
    for step in (1, 2, 3):
        first.log_metrics({"a": float(step)}, step=step)
    first.log_metrics({"b": 1.0}, step=1)
    first.close("interrupted")
    history = [{"step": 1.0, "a": 1.0, "b": 1.0}, {"step": 2.0, "a": 2.0, "b": 2.0}]
    changed = {**CONFIG, "seed": 2, "new": 3}
    second = make(folder, mlflow_id=first.version, history=history, config=changed)
    for step in (3, 4):
        second.log_metrics({"a": float(step), "b": float(step)}, step=step)
    second.close()
    found = Found(folder, first.version)
    assert found.points() == {"a": [(n, float(n)) for n in (1, 2, 3, 4)], "b": [(n, float(n)) for n in (1, 2, 3, 4)]}
    assert found.run.info.status == "FINISHED"
    assert (found.run.data.params["seed"], found.run.data.params["new"]) == ("1", "3")
    assert "seed: 2\n" in found.text("config.yaml")


def test_a_run_whose_store_is_gone_starts_one_with_its_past(folder: Path) -> None:
    log = make(folder, mlflow_id="0123456789abcdef", history=[{"step": 1.0, "a": 1.5}])
    log.log_metrics({"a": 2.5}, step=2)
    log.close()
    assert Found(folder, "0123456789abcdef").points() == {"a": [(1, 1.5), (2, 2.5)]}


def test_a_server_that_refuses_costs_two_lines_and_no_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log = make(tmp_path / "run", tracking_uri="http://user:hunter2@127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        start = time.monotonic()
        for step in range(100):
            log.log_metrics({"x": 1.0}, step=step)
        logged = time.monotonic() - start
        log.close()
        closed = time.monotonic() - start
    assert logged < 1
    assert closed < 30
    first, last = [record.message for record in caplog.records if record.name == "manyheads.logger.mlflow"]
    assert first.startswith("MLflow failed (MlflowException: API request to ")
    assert last == "MLflow did not take everything that was logged; metrics.csv in the run folder has all numbers."
    assert "hunter2" not in caplog.text
    assert not (tmp_path / "mlflow").exists()


def test_a_server_that_does_not_answer_is_waited_for_at_the_end_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and says nothing, as a server behind a broken proxy does."""
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = make(tmp_path / "run", tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with caplog.at_level(logging.WARNING):
            start = time.monotonic()
            for step in range(100):
                log.log_metrics({"x": 1.0}, step=step)
            log.close()
        assert time.monotonic() - start < 5
    assert "MLflow did not take everything" in caplog.text


def test_nothing_logged_leaves_nothing(tmp_path: Path) -> None:
    make(tmp_path / "run").close("failed")
    assert list(tmp_path.iterdir()) == []
