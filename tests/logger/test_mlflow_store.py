"""Guards: a store in a place where nobody looks for it, and a mistake that is tried for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, REQUEST_LIMIT_EXCEEDED

from manyheads.errors import UserError
from manyheads.logger.mlflow_store import Place, is_hopeless, place_of


@pytest.mark.parametrize("run", ["outputs/runs/a", "outputs/sweeps/s/0"])
def test_all_runs_of_an_outputs_folder_share_one_store(run: str, tmp_path: Path) -> None:
    store = tmp_path / "outputs" / "mlflow"
    assert place_of(None, tmp_path / run) == Place(f"sqlite:///{store / 'mlflow.db'}", str(store / "artifacts"))


def test_a_folder_a_server_and_a_database_are_told_apart(tmp_path: Path) -> None:
    assert place_of(str(tmp_path), Path("/x/run")).uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    for uri in ("http://host:5000", "sqlite:///a.db", "databricks", "databricks://profile"):
        assert place_of(uri, Path("/x/run")) == Place(uri, None)
    assert place_of(None, Path("/x/run")).artifacts == "/x/mlflow/artifacts"


def test_a_store_of_files_is_refused() -> None:
    with pytest.raises(UserError, match=r"^logger.mlflow.tracking_uri=file:///a/b: .* Set a folder without file:"):
        place_of("file:///a/b", Path("/x/run"))


def test_what_the_store_refuses_is_hopeless_and_what_did_not_reach_it_is_not() -> None:
    assert is_hopeless(MlflowException("no such thing", error_code=INVALID_PARAMETER_VALUE))
    assert is_hopeless(TypeError("a bug"))
    for error in (
        MlflowException("refused", error_code=INTERNAL_ERROR),
        MlflowException("slower, please", error_code=REQUEST_LIMIT_EXCEEDED),
        ConnectionError("away"),
        OSError(28, "disk full"),
    ):
        assert not is_hopeless(error)
