"""Guards: a logger that writes outside of the run's folder, and one that stays open when the run ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manyheads.logger.build import LIGHTNINGS_FOLDERS, close_all
from manyheads.logger.csv import CsvLog
from manyheads.logger.tensorboard import TensorBoardLog


def test_lightnings_own_loggers_have_no_folder_of_their_own() -> None:
    assert set(LIGHTNINGS_FOLDERS) == {"save_dir", "root_dir"}


def test_those_that_know_runs_are_told_how_it_ended(tmp_path: Path) -> None:
    said: list[Any] = []

    class Told(TensorBoardLog):
        def __init__(self) -> None: ...

        def close(self, status: Any) -> None:
            said.append(status)

    close_all([CsvLog(tmp_path), Told()], "failed")
    assert said == ["failed"]
