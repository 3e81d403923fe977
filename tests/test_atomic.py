"""Guards: half a file under a name that looks whole, and a file that only its owner can read."""

import errno
import os
from pathlib import Path

import pytest

from manyheads.atomic import clear_unfinished, replacing


def test_the_name_is_given_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as file:
        file.write("grün")
        assert not path.exists()
    assert path.read_bytes() == "grün".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", "wb") as file:
        file.write(b"\r\n\xff")
    assert (tmp_path / "a").read_bytes() == b"\r\n\xff"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_what_stood_there_stays_when_the_block_raises(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_stood_there_stays_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a full disk may come as late as the sync."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught, replacing(path) as file:
        file.write("new")
    assert caught.value.filename == str(path)  # the system names none there, and no user knows the temporary one
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_it_is_readable_by_whom_the_umask_says(tmp_path: Path, mask: int) -> None:
    """A temporary file is made with 0600, which would survive the rename."""
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "a") as file:
            file.write("x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "absent" / "a"):
        pytest.fail("the block must not run")
    assert caught.value.filename == str(tmp_path / "absent" / "a")


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    """Guards: a disk that fills with halves of checkpoints, and a file of the user's that is taken for one."""
    (tmp_path / "checkpoints").mkdir()
    kept = [tmp_path / "a.writing", tmp_path / ".hidden", tmp_path / "checkpoints" / "last.ckpt"]
    halves = [tmp_path / ".results.json.x1.writing", tmp_path / "checkpoints" / ".last.ckpt.x2.writing"]
    for path in [*kept, *halves]:
        path.write_text("x")
    clear_unfinished(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
