"""metrics.csv, byte for byte."""

import errno
from pathlib import Path

import pytest
import torch

from manyheads.logger.csv import CsvLog


def text(folder: Path) -> str:
    return (folder / "metrics.csv").read_text()


def test_what_is_logged_at_one_step_is_one_row(tmp_path: Path) -> None:
    """Guards against a row for each call: training and validation log at the same step."""
    log = CsvLog(tmp_path)
    log.log_metrics({"train/loss": 2.5, "train/tokens": 640}, step=10)
    log.log_metrics({"val/loss": torch.tensor(3.0)}, step=10)
    log.log_metrics({"train/loss": 2.25, "train/tokens": 1280}, step=20)
    assert text(tmp_path) == "step,train/loss,train/tokens,val/loss\n10,2.5,640,3.0\n20,2.25,1280,\n"


def test_every_call_is_on_disk_at_once_and_a_later_value_replaces_an_earlier_one(tmp_path: Path) -> None:
    """Guards against rows lost when the process is killed, and against remains of a longer row."""
    log = CsvLog(tmp_path)
    log.log_metrics({"a": 0.123456789}, step=1)
    log.log_metrics({"a": 2.0}, step=2)
    assert text(tmp_path) == "step,a\n1,0.123456789\n2,2.0\n"
    log.log_metrics({"a": 0.123456789}, step=2)
    log.log_metrics({"a": 3.0})
    assert text(tmp_path) == "step,a\n1,0.123456789\n2,3.0\n"


def test_a_new_name_adds_a_column_and_keeps_the_rows(tmp_path: Path) -> None:
    """Guards against a header that no longer fits, and against lost digits when rows are written again."""
    log = CsvLog(tmp_path)
    log.log_metrics({"a": 1 / 3}, step=1)
    log.log_metrics({"b": 1e-12}, step=2)
    log.log_metrics({"a": 0.5}, step=2)
    assert text(tmp_path) == f"step,a,b\n1,{1 / 3!r},\n2,0.5,1e-12\n"


def test_a_resumed_run_continues_the_file_without_the_rows_its_checkpoint_does_not_know(tmp_path: Path) -> None:
    """Guards against steps that stand twice after a resume."""
    first = CsvLog(tmp_path)
    for step in (10, 20, 30):
        first.log_metrics({"a": float(step)}, step=step)
    second = CsvLog(tmp_path)
    second.drop_after(20)
    assert text(tmp_path) == "step,a\n10,10.0\n20,20.0\n"
    second.log_metrics({"a": 21.0}, step=20)
    second.log_metrics({"a": 31.0}, step=30)
    assert text(tmp_path) == "step,a\n10,10.0\n20,21.0\n30,31.0\n"
    second.drop_after(5)
    assert text(tmp_path) == "step,a\n"


def test_scores_on_the_test_split_are_those_of_the_end(tmp_path: Path) -> None:
    """A run that goes on after its end has no such scores until it ends again; their columns come last again."""
    log = CsvLog(tmp_path)
    log.log_metrics({"a": 1.0, "test/loss": 2.0}, step=10)
    log.drop_after(10)
    log.log_metrics({"b": 2.0}, step=20)
    assert text(tmp_path) == "step,a,b\n10,1.0,\n20,,2.0\n"


def test_a_line_cut_off_by_a_crash_is_dropped(tmp_path: Path) -> None:
    """Guards against a half number that joins the next row."""
    (tmp_path / "metrics.csv").write_text("step,a\n10,1.5\n20,2.")
    CsvLog(tmp_path).log_metrics({"a": 3.5}, step=30)
    assert text(tmp_path) == "step,a\n10,1.5\n30,3.5\n"


def test_a_reader_never_meets_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against rewriting in place: when a rewrite fails, the old file is whole."""
    log = CsvLog(tmp_path)
    log.log_metrics({"a": 1.0}, step=1)

    def fail(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        log.log_metrics({"b": 1.0}, step=2)
    assert text(tmp_path) == "step,a\n1,1.0\n"
