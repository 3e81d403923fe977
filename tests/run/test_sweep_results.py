"""What a sweep came to: seeds together, the best first, and runs that failed not forgotten."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from manyheads.run.sweep_chart import sweep_figure
from manyheads.run.sweep_results import Trial, sweep_results, tell_sweep, write_sweep


def trial(
    root: Path, number: int, words: str, score: float | None, *, status: str = "done", monitor: str = "val/loss"
) -> Trial:
    folder = root / "2026-01-31_12-00-00" / str(number)
    folder.mkdir(parents=True)
    name = monitor.partition("/")[2]
    scores: dict[str, Any] = {} if score is None else {name: score}
    results = {
        "schema": 1, "val": scores, "test": {key: value + 1 for key, value in scores.items()},
        "perf": {"tokens_per_sec": 1000.0}, "directions": {"loss": "lower", "accuracy": "higher"},
        "run": {"status": status, "parameters": 500 + number, "train_seconds": 60.0},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(f"callbacks:\n  monitor: {monitor}\n")
    return Trial(tuple(words.split()), folder)


def test_seeds_are_one_line_and_the_best_is_first(tmp_path: Path) -> None:
    found = sweep_results([
        trial(tmp_path, 0, "experiment=ladder model=lstm seed=1", 2.0),
        trial(tmp_path, 1, "experiment=ladder model=lstm seed=2", 3.0),
        trial(tmp_path, 2, "experiment=ladder model=rnn seed=1", 1.5),
        trial(tmp_path, 3, "experiment=ladder model=rnn seed=2", 2.5),
    ])  # fmt: skip
    assert found is not None
    assert [setting.name for setting in found.settings] == ["model=rnn", "model=lstm"]
    rnn = found.settings[0].numbers
    # s / sqrt(2) = 0.5, t(1) = 12.706
    assert rnn["val/loss"] == (2.0, pytest.approx(6.353), 2)
    assert rnn["test/loss"].value == 3.0
    assert rnn["run/parameters"].value == 502.5


def test_more_is_better_where_the_score_says_so(tmp_path: Path) -> None:
    trials = [trial(tmp_path, i, f"lr={i}", score, monitor="val/accuracy") for i, score in enumerate([0.5, 0.9, 0.7])]
    found = sweep_results(trials)
    assert found is not None
    assert [setting.name for setting in found.settings] == ["lr=1", "lr=2", "lr=0"]


def test_a_run_that_failed_stands_last_and_does_not_count(tmp_path: Path) -> None:
    found = sweep_results([
        trial(tmp_path, 0, "lr=9 seed=1", None, status="failed"),
        trial(tmp_path, 1, "lr=1 seed=1", 1.0),
        trial(tmp_path, 2, "lr=1 seed=2", 0.5, status="interrupted"),
    ])  # fmt: skip
    assert found is not None
    assert [(setting.name, setting.status) for setting in found.settings] == [
        ("lr=1", "1 of 2 done"),
        ("lr=9", "0 of 1 done"),
    ]
    assert found.settings[0].numbers["val/loss"] == (1.0, None, 1)


def test_nothing_is_said_of_runs_without_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [trial(tmp_path, i, f"lr={i}", None, status="failed") for i in range(2)]
    tell_sweep([*trials, Trial(("lr=3",), tmp_path / "never")])
    tell_sweep([])
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.rglob("sweep.*"))


def test_one_run_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_sweep([trial(tmp_path, 0, "lr=1", 1.0)])
    assert capsys.readouterr().out == ""


def test_the_table_and_the_files_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [
        trial(tmp_path, i, f"model={name} seed={i}", score)
        for i, (name, score) in enumerate([("a<b>", 2.0), ("a<b>", 4.0), ("[c]", 1.0)])
    ]
    tell_sweep(trials)
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines() if line.startswith("model=")]
    assert lines[0][:5] == ["model=[c]", "1", "1", "2", "502"]
    assert lines[1][:4] == ["model=a<b>", "2", "3", "±12.7060"]
    folder = trials[0].folder.parent
    rows = list(csv.reader((folder / "sweep.csv").read_text().splitlines()))
    assert rows[0][:4] == ["setting", "runs", "val/loss", "val/loss +-"]
    assert rows[2][:3] == ["model=a<b>", "2", "3.0"]
    whole = json.loads((folder / "sweep.json").read_text())
    assert whole["monitor"] == "val/loss"
    assert whole["settings"][1]["val/loss"] == {"mean": 3.0, "half_width": pytest.approx(12.706), "runs": 2}
    page = (folder / "sweep.html").read_text()
    assert "model=a<b>" not in page
    assert 'src="http' not in page


def test_the_chart_has_a_point_for_each_setting_and_cost(tmp_path: Path) -> None:
    found = sweep_results([trial(tmp_path, i, f"model={name}", i + 1.0) for i, name in enumerate("abc")])
    assert found is not None
    figure: Any = sweep_figure(found)
    assert [(point.name, list(point.y)) for point in figure.data[:3]] == [("model=a", [2.0])] * 3
    assert [list(point.x) for point in figure.data[:3]] == [[500.0], [60.0], [1000.0]]
    assert len(figure.data) == 9


def test_files_are_written_anew(tmp_path: Path) -> None:
    trials = [trial(tmp_path, i, f"lr={i}", i + 1.0) for i in range(2)]
    found = sweep_results(trials)
    assert found is not None
    folder = trials[0].folder.parent
    for _ in range(2):
        assert [path.name for path in write_sweep(folder, found)] == ["sweep.json", "sweep.csv", "sweep.html"]
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "sweep.csv", "sweep.html", "sweep.json"]
