"""Guards a checkpoint that a full disk takes away: the run stops, says so, and goes on from the one before."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@contextlib.contextmanager
def larger_files_refused(size: int, folder: Path) -> Iterator[None]:
    """As after `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def disk_with_room(size: int, folder: Path) -> Iterator[None]:
    """The disk of `folder` has room for so many bytes."""
    filler = folder / "filler"
    state = os.statvfs(folder)
    filler.write_bytes(bytes(state.f_bavail * state.f_bsize - size))
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if tried.returncode:
        pytest.skip(f"cannot mount here: {tried.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def stops_and_goes_on(
    cli: Callable[..., Any], words: list[str], full: Callable[[int, Path], Any], told: str, where: Path
) -> None:
    whole = cli("train", *words, "trainer.max_steps=10")
    with contextlib.chdir(where):
        run = cli("train", *words)
        assert run.code == 0, run.err
        before = last(run.folder)
        size = (run.folder / "checkpoints" / "last.ckpt").stat().st_size
        more = ["train", f"resume={run.folder}", "trainer.max_steps=10"]
        with full(size // 2, where):
            stopped = cli(*more)
        assert stopped.code == 1
        assert told in stopped.err
        assert "last.ckpt" in stopped.err
        assert "Traceback" not in stopped.err
        after = last(run.folder)
        assert after["global_step"] == before["global_step"] == 6
        assert all(torch.equal(value, after["state_dict"][name]) for name, value in before["state_dict"].items())
        assert not list(run.folder.rglob(".*.writing"))
        resumed = cli(*more)
        assert resumed.code == 0, resumed.err
        ours, theirs = last(run.folder)["state_dict"], last(whole.folder)["state_dict"]
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
        assert [row["step"] for row in run.metrics] == [1, 2, 3, 4, 6, 8, 9, 10]


WORDS = ["++optim.schedule=constant", "++callbacks.samples=0"]


def test_a_limit_on_files(cli: Callable[..., Any], tiny: list[str], tmp_path: Path) -> None:
    told = "the file would be larger than the limit (ulimit -f). Raise the limit"
    stops_and_goes_on(cli, [*tiny, *WORDS], larger_files_refused, told, tmp_path)


@pytest.mark.slow
def test_a_disk_without_room(cli: Callable[..., Any], tiny: list[str], disk: Path) -> None:
    stops_and_goes_on(cli, [*tiny, *WORDS], disk_with_room, "there is no space left on the disk. Free some", disk)
