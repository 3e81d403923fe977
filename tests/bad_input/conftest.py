"""Where a fault is planted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def place(tmp_path: Path, corpus: Path, tiny_trained: Any, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Path]:
    """The current folder, good data, and an interrupted run in the folder `run`, to be made when it is used."""
    monkeypatch.chdir(tmp_path)
    trained = tiny_trained.folder
    return {"corpus": corpus, "run": tmp_path / "run", "trained": trained, "outputs": trained.parents[1]}
