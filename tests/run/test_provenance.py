"""Guards: a result that cannot be traced to its code, and a secret in its record."""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from manyheads.run.provenance import device_name, git_state, peak_memory_bytes, provenance, versions


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_commit_and_whether_the_tree_had_changes(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout) == (commit, False)
    (checkout / "a").write_text("2")
    assert git_state(checkout) == (commit, True)


def test_a_new_file_is_a_change_and_an_ignored_one_is_not(checkout: Path) -> None:
    """A run must not call its own outputs/ a change of the code."""
    (checkout / ".gitignore").write_text("outputs/\n")
    git(checkout, "add", ".gitignore")
    git(checkout, "commit", "-qm", "ignore")
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "x").write_text("1")
    assert git_state(checkout)[1] is False
    (checkout / "new.py").write_text("1")
    assert git_state(checkout)[1] is True


def test_outside_of_a_checkout_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == (None, None)


def test_without_git_nothing_is_claimed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) == (None, None)


def test_versions_are_those_that_are_installed() -> None:
    found = versions()
    assert found["torch"] == torch.__version__
    assert found["datasets"] == importlib.metadata.version("datasets")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"manyheads", "pytorch-lightning", "hydra-core", "datasets", "tokenizers"} <= set(found)


def test_the_command_is_kept_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_SECRET_X", "hunter2")
    found = provenance(["train.py", "logger.wandb.api_key=hunter2", "data.path=https://u:p@host/f"], seed=3)
    assert shlex.split(found["command"]) == ["train.py", "logger.wandb.api_key=***", "data.path=https://***@host/f"]
    assert found["seed"] == 3


def test_the_start_says_its_offset_from_utc() -> None:
    started = datetime.fromisoformat(provenance([], 1)["started"])
    assert started.tzinfo is not None
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60


def test_memory_is_in_bytes() -> None:
    """getrusage counts kilobytes on Linux and bytes on macOS: this process, with torch in it, holds more than 50 MB."""
    before = peak_memory_bytes()
    assert 50e6 < before < 1e12
    block = bytearray(80_000_000)
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory_bytes() >= before


def test_the_device_in_words() -> None:
    assert "thread" in device_name(torch.device("cpu"))
