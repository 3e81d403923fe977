import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.find import find_runs, newest_run, pick_run, run_not_set

OLD, NEW, SWEPT = "2026-01-01_00-00-00-generation-tiny", "2026-01-03_00-00-00-generation-tiny", "2026-01-02_00-00-00"


@pytest.fixture
def three(make_run: Callable[..., Path]) -> None:
    make_run(OLD, bpb=2.0)
    make_run("7", bpb=1.0, where=f"sweeps/{SWEPT}")
    make_run(NEW, bpb=3.0)


def test_a_run_that_has_not_ended_has_the_steps_of_its_table(make_run: Callable[..., Path]) -> None:
    """Guards a killed run, or one at work, that shows the steps of its start: none."""
    for name, status in (("killed", "running"), ("fresh", "running"), ("ended", "done")):
        run = make_run(name, status=status)
        if name != "fresh":
            (run / "metrics.csv").write_text("step,train/loss\n" + "".join(f"{i},0.5\n" for i in range(10, 9010, 10)))
    assert {run.name: run.text("steps") for run in find_runs()} == {"killed": "9000", "fresh": "0", "ended": ""}


@pytest.mark.usefixtures("three")
def test_newest_first_whatever_kind() -> None:
    assert [run.name for run in find_runs()] == [NEW, f"{SWEPT}/7", OLD]
    assert newest_run() == Path("outputs/runs") / NEW
    assert newest_run(Path("nowhere")) is None
    assert str(run_not_set()) == f"run is not set: add run=FOLDER, such as run=outputs/runs/{NEW}."


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("root", "count"),
    [
        (".", 3),
        ("outputs", 3),
        ("outputs/runs", 2),
        ("outputs/sweeps", 1),
        (f"outputs/sweeps/{SWEPT}", 1),
        (f"outputs/runs/{OLD}", 1),
    ],
)
def test_any_folder_above_the_runs_will_do(root: str, count: int) -> None:
    assert len(find_runs(Path(root))) == count


def test_the_recorded_start_counts_more_than_the_name(make_run: Callable[..., Path]) -> None:
    make_run(OLD)
    folder = make_run("copied-and-renamed")
    results = json.loads((folder / "results.json").read_text())
    results["run"]["started"] = "2025-06-01T00:00:00+02:00"
    (folder / "results.json").write_text(json.dumps(results))
    assert [run.name for run in find_runs()] == [OLD, "copied-and-renamed"]


def test_states(make_run: Callable[..., Path]) -> None:
    for name in ("a", "b", "c", "d", "e"):
        make_run(name, status="running")
    (Path("outputs/runs/a") / "results.json").write_text("{")
    (Path("outputs/runs/b") / "results.json").unlink()
    (Path("outputs/runs/c") / "results.json").write_text('{"schema": 99}')
    for path in (Path("outputs/runs/d"), *Path("outputs/runs/d").iterdir()):
        os.utime(path, (1e9, 1e9))
    found = {run.name: run.status for run in find_runs()}
    assert found == {"a": "damaged", "b": "running", "c": "newer", "d": "silent", "e": "running"}


@pytest.mark.usefixtures("three")
def test_a_run_is_picked_by_path_name_or_beginning() -> None:
    runs = find_runs()
    for text in (f"outputs/runs/{OLD}", OLD, "2026-01-01"):
        assert pick_run(text, runs, "--diff").name == OLD
    assert pick_run("2026-01-02", runs, "--diff").name == f"{SWEPT}/7"
    with pytest.raises(UserError, match=r"--diff 2026: 3 runs are meant"):
        pick_run("2026", runs, "--diff")
    with pytest.raises(UserError, match=r"no such run. Did you mean"):
        pick_run(OLD.replace("tiny", "tyni"), runs, "--diff")
