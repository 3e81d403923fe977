import os
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.run.prune import size
from manyheads.run.runs import main

Make = Callable[..., Path]
Out = pytest.CaptureFixture[str]


def test_prune_keeps_the_best_and_the_newest(make_run: Make, capsys: Out) -> None:
    for day, bpb in ((1, 1.0), (2, 3.0), (3, 2.0), (4, 4.0), (5, None)):
        make_run(f"2026-01-0{day}_00-00-00-generation-tiny", bpb=bpb)
    assert main(["--prune", "--keep-best", "1", "--keep-newest", "1", "--yes"]) == 0
    assert sorted(p.name[:10] for p in Path("outputs/runs").iterdir()) == ["2026-01-01", "2026-01-05"]
    said = capsys.readouterr().out
    assert "deleted 3 runs, freed 3." in said  # each holds a checkpoint of 1,000 bytes and two small files
    assert "kB" in said


def test_prune_spares_what_may_be_running_and_what_is_no_run(make_run: Make) -> None:
    make_run("going", status="running")
    Path("outputs/runs/notes").mkdir()
    Path("outputs/runs/notes/config.yaml").write_text("mine: 1\n")
    main(["--prune", "--keep-best", "0", "--keep-newest", "0", "--yes"])
    assert sorted(p.name for p in Path("outputs/runs").iterdir()) == ["going", "notes"]


def test_prune_follows_no_link_out(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("a")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    (folder / "out").symlink_to(tmp_path / "precious")  # a link inside of a run
    elsewhere = make_run("b", where="elsewhere")
    elsewhere.rename(tmp_path / "b")
    Path("outputs/elsewhere").rmdir()
    Path("outputs/sweeps").mkdir()
    Path("outputs/sweeps/link").symlink_to(tmp_path)  # a sweep that lies elsewhere: b is one of its runs
    Path("outputs/runs/b").symlink_to(tmp_path / "b")  # a run that lies elsewhere
    main(["--prune", "--keep-best", "0", "--keep-newest", "0", "--yes"])
    assert not folder.exists()
    assert (tmp_path / "precious" / "file").read_text() == "keep"
    assert (tmp_path / "b" / "checkpoints" / "last.ckpt").is_file()


def test_size_counts_a_file_once_and_follows_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a").write_bytes(b"x" * 500)
    os.link(folder / "a", folder / "b")
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "c").write_bytes(b"x" * 9000)
    (folder / "out").symlink_to(tmp_path / "big")
    assert size(folder) == 500
