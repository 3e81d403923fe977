"""Guards: a device, a pipe or a link that is replaced by a plain file, and anything else on a stdout that is read."""

import errno
import os
import threading
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.output import Output


def write(path: str | Path, *lines: str) -> None:
    with Output(path, "to", "x.json").open() as file:
        for line in lines:
            file.write(line)


def test_a_pipe_stays_one_and_gets_the_lines_as_they_come(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write(pipe, "a\n", "é\n")
    reader.join(timeout=10)
    assert read == ["a\né\n"]
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_each_line_is_in_the_pipe_before_the_next_is_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    handle = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Output(tmp_path / "pipe", "to", "x").open() as file:
            file.write("first\n")
            assert os.read(handle, 100) == b"first\n"
    finally:
        os.close(handle)


def test_a_link_to_a_pipe_stays_a_link(tmp_path: Path) -> None:
    """As /dev/stdout is one."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    handle = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(tmp_path / "link", "x\n")
        assert os.read(handle, 100) == b"x\n"
    finally:
        os.close(handle)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("there", [False, True])
def test_a_link_to_a_file_stays_and_the_file_is_replaced_whole(there: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a.json", tmp_path / "link.json"
    if there:
        target.write_text("old")
    link.symlink_to("far/a.json")
    with Output(link, "to", "x").open() as file:
        file.write("new")
        file.flush()
        assert target.exists() == there
        assert not there or target.read_text() == "old"
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path / "far") == ["a.json"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "to=. is a folder: set a file, such as to=x.json."),
        ("link", "to=link is a folder: set a file, such as to=link/x.json."),
        ("no/a", "to=no/a: there is no folder no. Make it, or set another file."),
    ],
)
def test_a_place_that_cannot_be_written_is_named(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(UserError) as caught:
        Output(name, "to", "x.json")
    assert str(caught.value) == message


def test_stdout_by_its_sign(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Output("-", "to", "x")
    with out.open() as file:
        file.write("x\n")
    assert out.is_stdout
    assert capsys.readouterr().out == "x\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_stdout_by_another_name(kind: str, tmp_path: Path) -> None:
    """What `> file to=/dev/stdout` and `| less` lead to: the end of a link, for a file would lose what stands there."""
    if kind == "pipe":
        os.mkfifo(tmp_path / "out")
    flags = os.O_RDWR | os.O_APPEND | (0 if kind == "pipe" else os.O_CREAT)
    handle, kept = os.open(tmp_path / "out", flags), os.dup(1)
    (tmp_path / "link").symlink_to("out")
    try:
        os.dup2(handle, 1)
        named = [Output(tmp_path / name, "to", "x").is_stdout for name in ("out", "link")]
        (tmp_path / "other").touch()
        other = Output(tmp_path / "other", "to", "x").is_stdout
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(handle)
    assert (named, other) == ([True, True], False)


def test_a_full_disk_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards advice about the folder of runs, where none is written."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        write(tmp_path / "a", "x")
    said = f"to={tmp_path / 'a'}: there is no space left on the disk. Free some, or set another file."
    assert str(caught.value) == said
    assert os.listdir(tmp_path) == []


def test_a_fault_of_something_else_in_the_block_is_not_taken_for_one_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), Output(tmp_path / "a", "to", "x").open():
        raise PermissionError(errno.EACCES, "denied", "elsewhere")
