"""Guards how a checkpoint is found and read: never outside the run's folder, never half, never by running code."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.errors import UserError
from manyheads.run.checkpoint import find_checkpoint, read_checkpoint
from manyheads.run.results import SCHEMA
from manyheads.testing import tiny_checkpoint, tiny_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny_run(tmp_path / "run")


class Planted:
    """Runs code when it is unpickled in the ordinary way."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


def saved_with(proof: Path) -> bytes:
    """The bytes of a checkpoint that runs code."""
    file = io.BytesIO()
    torch.save(Planted(proof), file)
    assert zipfile.is_zipfile(file)
    return file.getvalue()


@pytest.mark.parametrize(("name", "stem"), [(None, "best"), ("best", "best"), ("last", "last"), ("last.ckpt", "last")])
def test_a_checkpoint_is_found_by_its_name(run: Path, name: str | None, stem: str) -> None:
    assert find_checkpoint(run, name) == run / "checkpoints" / f"{stem}.ckpt"
    assert find_checkpoint(run / "checkpoints" / "last.ckpt", name).stem == "last"


def test_last_stands_in_where_there_is_no_best(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", checkpoints={"last": 0})
    assert find_checkpoint(run) == run / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"checkpoint=best is not in .*: set one of last\."):
        find_checkpoint(run, "best")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "run is not set: set run=FOLDER"),
        ("rum", "there is no such folder. Did you mean 'run'?"),
        ("empty", "is no run folder: it holds no config.yaml"),
        ("early", "this run has no checkpoint yet"),
    ],
)
def test_a_folder_that_is_no_run_is_named(run: Path, path: str, message: str) -> None:
    (run.parent / "empty").mkdir()
    tiny_run(run.parent / "early", checkpoints={})
    with pytest.raises(UserError) as caught:
        find_checkpoint(run.parent / path if path else path)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["../../other/checkpoints/best", "/etc/passwd", "..", "worst", ""])
def test_no_name_leads_out_of_the_folder(run: Path, name: str) -> None:
    tiny_run(run.parent / "other")
    with pytest.raises(UserError, match=r"set one of best, last\."):
        find_checkpoint(run, name)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_named(run: Path, share: float) -> None:
    path = run / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"best\.ckpt is truncated or no checkpoint"):
        read_checkpoint(path)


def test_a_pickle_in_the_file_does_not_run(tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "some.ckpt"
    torch.save({**tiny_checkpoint(), "more": Planted(proof)}, path)
    with pytest.raises(UserError, match="could run code, so it is not read"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Planted(proof)))
    with pytest.raises(UserError, match=r"some\.ckpt"):
        read_checkpoint(path)
    assert not proof.exists()
    torch.load(io.BytesIO(saved_with(proof)), weights_only=False)
    assert proof.exists()  # the plant itself works


def test_the_tiny_run_of_the_tests_has_the_schema_of_today(run: Path) -> None:
    assert read_checkpoint(find_checkpoint(run))["manyheads"]["schema"] == SCHEMA
