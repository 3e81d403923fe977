"""Real event files, read back by TensorBoard's own accumulator."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from manyheads.logger.tensorboard import TensorBoardLog, tensorboard

CONFIG: dict[str, Any] = {"model": {"dim": 8, "norm": "rmsnorm"}, "seed": 1, "resume": None}


def make(folder: Path, **settings: Any) -> TensorBoardLog:
    made = tensorboard(folder=folder, **{"config": CONFIG, "resumed_step": None, "history": [], **settings})
    assert isinstance(made, TensorBoardLog)
    return made


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(found: EventAccumulator) -> dict[str, list[tuple[int, float]]]:
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def texts(found: EventAccumulator, tag: str) -> list[tuple[int, str]]:
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found.Tensors(f"{tag}/text_summary")]


def plugin(found: EventAccumulator, tag: str) -> HParamsPluginData:
    content = found.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return HParamsPluginData.FromString(content)


def test_numbers_texts_and_config_are_in_the_run_folder_at_their_steps(tmp_path: Path) -> None:
    """Guards a step of the logger's own, a number twice at one step, and what is lost when the process is killed: the
    file is read before it is closed."""
    log = make(tmp_path, tags=["a", "b"])
    log.log_metrics({"train/loss": 3.0, "train/tokens": 64}, step=10)
    log.log_metrics({"val/loss": 2.5, "train/tokens": 64}, step=10)
    log.log_text("samples", columns=["step", "text"], data=[["10", "<b>\n  é"]], step=10)
    log.log_metrics({"test/loss": 1.5})
    log.save()
    log.finalize("success")  # Lightning's word after fit; testing follows
    found = read(tmp_path)
    assert scalars(found) == {
        "train/loss": [(10, 3.0)], "train/tokens": [(10, 64.0)], "val/loss": [(10, 2.5)], "test/loss": [(10, 1.5)],
    }  # fmt: skip
    assert texts(found, "samples") == [(10, "    step: 10\n    text: <b>\n      é")]
    assert texts(found, "config") == [
        (0, "    model:\n      dim: 8\n      norm: rmsnorm\n    seed: 1\n    resume: null")
    ]
    assert texts(found, "tags") == [(0, "a, b")]
    start = plugin(found, "session_start_info").session_start_info
    assert start.hparams["model.dim"].number_value == 8
    assert start.hparams["model.norm"].string_value == "rmsnorm"
    log.close()


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("done", api_pb2.STATUS_SUCCESS),  # type: ignore[attr-defined]
        ("failed", api_pb2.STATUS_FAILURE),  # type: ignore[attr-defined]
        ("interrupted", api_pb2.STATUS_UNKNOWN),  # type: ignore[attr-defined]
    ],
)
def test_the_session_says_how_it_ended(status: Any, wanted: int, tmp_path: Path) -> None:
    log = make(tmp_path)
    log.log_metrics({"x": 1.0}, step=1)
    log.close(status)
    log.close("done")
    log.log_metrics({"x": 2.0}, step=2)
    found = read(tmp_path)
    assert plugin(found, "session_end_info").session_end_info.status == wanted
    assert scalars(found) == {"x": [(1, 1.0)]}


def test_a_resumed_run_goes_on_without_a_gap_or_a_step_twice(tmp_path: Path) -> None:
    """Steps 3 and 4 were logged after the checkpoint of step 2; the new numbers count, and the new
    end: TensorBoard would keep the first one."""
    first = make(tmp_path)
    for step in (1, 2, 3, 4):
        first.log_metrics({"a": float(step)}, step=step)
    first.close("failed")
    time.sleep(1.01)  # TensorBoard reads files by their names, which begin with the second
    second = make(tmp_path, resumed_step=2, history=[{"step": 1.0, "a": 99.0}])
    for step in (3, 4, 5):
        second.log_metrics({"a": 10.0 * step}, step=step)
    second.close()
    assert len(list((tmp_path / "tensorboard").glob("events*"))) == 3
    found = read(tmp_path)
    assert plugin(found, "session_end_info").session_end_info.status == api_pb2.STATUS_SUCCESS  # type: ignore[attr-defined]
    assert scalars(found) == {"a": [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0), (5, 50.0)]}


def test_a_run_that_had_no_event_files_gets_those_of_its_past(tmp_path: Path) -> None:
    log = make(tmp_path, resumed_step=2, history=[{"step": 1.0, "a": 1.5}, {"step": 2.0, "a": 2.5, "b": 3.5}])
    log.log_metrics({"a": 3.0}, step=3)
    log.close()
    assert scalars(read(tmp_path)) == {"a": [(1, 1.5), (2, 2.5), (3, 3.0)], "b": [(2, 3.5)]}


def test_nothing_logged_leaves_nothing(tmp_path: Path) -> None:
    make(tmp_path).close("failed")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file stands where the folder should be: a fault that root meets too."""
    (tmp_path / "tensorboard").write_text("in the way")
    log = make(tmp_path)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            log.log_metrics({"x": 1.0}, step=step)
            log.save()
        log.close()
    (record,) = caplog.records
    assert record.message.startswith("TensorBoard failed (")
    assert record.message.endswith("; the training goes on.")
