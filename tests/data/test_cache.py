"""Guards: a folder made twice, half-made, shared between two contents, or made by two processes at once."""

import errno
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from manyheads.data.cache import cache_dir, cached, fingerprint
from manyheads.errors import UserError


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))


def test_cache_dir_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("MANYHEADS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_dir() == Path("/elsewhere/manyheads")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "manyheads"


def test_fingerprint_tells_apart_what_would_look_alike_joined() -> None:
    parts = [("a", "b"), ("ab",), ("a,b",), (["a", "b"],), ("a", None), ("a", "None"), (1,), ("1",), (1.5,), (True,)]
    assert len({fingerprint(*part) for part in parts}) == len(parts)
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})


def test_made_once_and_kept_apart_by_kind_and_fingerprint() -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "n").write_text(str(len(made)))

    first = cached("kind", "f1", make)
    assert cached("kind", "f1", make) == first
    assert (first / "n").read_text() == "1"
    assert (cached("kind", "f2", make) / "n").read_text() == "2"
    assert (cached("other", "f1", make) / "n").read_text() == "3"
    assert len(made) == 3


@pytest.mark.parametrize("fault", [RuntimeError("no"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_failed_make_leaves_nothing_and_is_tried_again(fault: BaseException) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise fault

    with pytest.raises(type(fault)):
        cached("kind", "f", fail)
    shelf = next(cache_dir().iterdir())
    assert [path.name for path in shelf.iterdir()] == ["f.lock"]
    assert not list(cached("kind", "f", lambda folder: None).iterdir())


def test_leftovers_of_a_killed_process_are_removed() -> None:
    shelf = cached("kind", "other", lambda folder: None).parent
    (shelf / "f.part-0123").mkdir()
    (shelf / "f.part-0123" / "half").write_text("half")
    cached("kind", "f", lambda folder: None)
    assert not (shelf / "f.part-0123").exists()


def test_a_full_disk_is_told_with_the_key_to_set() -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "x"))

    with pytest.raises(UserError, match=r"MANYHEADS_CACHE=.*No space left on device.*set MANYHEADS_CACHE"):
        cached("kind", "f", full)


def test_a_missing_right_elsewhere_is_not_taken_for_the_cache() -> None:
    def refused(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/the/data")

    with pytest.raises(PermissionError):
        cached("kind", "f", refused)


def _slow(folder: Path) -> None:
    with (folder.parent / "makers").open("a") as log:
        log.write("x")
    (folder / "first").write_text("1")
    time.sleep(0.3)
    (folder / "second").write_text("2")


def _race(results: "multiprocessing.SimpleQueue[str]", start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    folder = cached("kind", "race", _slow)
    results.put((folder / "first").read_text() + (folder / "second").read_text())


def test_one_process_makes_while_others_wait() -> None:
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    results = context.SimpleQueue()
    start = time.time() + 0.1
    processes = [context.Process(target=_race, args=(results, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [results.get() for _ in processes] == ["12"] * 3
    assert (next(cache_dir().iterdir()) / "makers").read_text() == "x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "locked"))
    with pytest.raises(UserError, match="cannot be written"):
        cached("kind", "f", lambda folder: None)
