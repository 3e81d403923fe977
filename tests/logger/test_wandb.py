"""Real W&B runs, offline, read back from their files."""

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from manyheads.logger import wandb as module
from manyheads.logger.html import html_table
from manyheads.logger.wandb import WandbLog, wandb

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens, connections are refused


def records(folder: Path) -> list[dict[str, Any]]:
    """What W&B's own reader finds in the one run of a folder."""
    (file,) = folder.glob("wandb/*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


def history(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [item["item"] for item in of("history", found)]
    return [{name: value for name, value in row.items() if name not in ("_runtime", "_timestamp")} for row in rows]


def make(folder: Path, **settings: Any) -> WandbLog:
    made = wandb(folder=folder, name=folder.name, **{"config": {}, **settings})
    assert isinstance(made, WandbLog)
    return made


@pytest.mark.slow
def test_two_runs_of_one_process_do_not_mix_and_each_says_how_it_ended(tmp_path: Path) -> None:
    """Guards against a second run that logs into the first, a failed run shown as finished, and a step of W&B's own."""
    one = make(tmp_path / "one", config={"model": {"dim": 8}, "commit": "abc"}, tags=["t"], group="g", project="p")
    two = make(tmp_path / "two", config={"model": {"dim": 16}}, wandb_id="5eed5eed")
    one.log_metrics({"train/loss": 3.0, "train/tokens": 64}, step=10)
    two.log_metrics({"train/loss": 5.0}, step=1)
    one.log_metrics({"val/loss": 2.5}, step=10)
    one.log_metrics({"train/loss": 2.0}, step=20)
    one.log_metrics({"test/loss": 1.5})
    one.finalize("success")  # Lightning's word after fit; testing follows
    one.log_metrics({"test/perplexity": 4.5})
    two.finalize("failed")
    two.log_metrics({"late": 1.0}, step=2)
    one.close()
    one.close("failed")

    first, second = records(tmp_path / "one"), records(tmp_path / "two")
    assert history(first) == [
        {"_step": 10, "train/loss": 3, "train/tokens": 64, "val/loss": 2.5},
        {"_step": 20, "train/loss": 2, "test/loss": 1.5, "test/perplexity": 4.5},
    ]
    assert history(second) == [{"_step": 1, "train/loss": 5}]
    assert [of("exit", found)[0].get("exit_code", 0) for found in (first, second)] == [0, 1]
    run = of("run", first)[0]
    assert run["config"]["update"] == {"_wandb": {}, "model": {"dim": 8}, "commit": "abc"}
    assert (run["display_name"], run["project"], run["run_group"], run["tags"]) == ("one", "p", "g", ["t"])
    assert run["run_id"] == one.version
    assert of("run", second)[0]["run_id"] == two.version == "5eed5eed"
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


def test_texts_are_logged_as_a_page_that_shows_them_as_they_are(tmp_path: Path) -> None:
    """Guards markup in a text, which would be shown as markup or run, and an empty list of texts."""
    log = make(tmp_path)
    text = "<b>&amp;\n  \N{GRINNING FACE}"
    log.log_text("samples", columns=["step", "text"], data=[[3, text]], step=3)  # type: ignore[list-item]
    log.log_text("samples", columns=["step", "text"], data=[], step=4)
    log.close()
    (page,) = tmp_path.glob("wandb/*/files/media/html/samples_*.html")
    shown = page.read_text(encoding="utf-8")
    assert shown == html_table(["step", "text"], [["3", text]])
    (row,) = history(records(tmp_path))
    assert row["_step"] == 3
    assert any(name.startswith("samples") for name in row)


@pytest.mark.slow
def test_an_unreachable_server_costs_one_line_and_no_secret_is_written(tmp_path: Path) -> None:
    """Guards against a hang or a crash without a network, and against secrets of the command line and environment."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from manyheads.logger.wandb import wandb
            start = time.monotonic()
            log = wandb(folder=Path(sys.argv[1]), name="n", config={"a": 1})
            for step in range(3):
                log.log_metrics({"x": float(step)}, step=step)
            print("heard on the console")
            log.close()
            assert time.monotonic() - start < 30
            """
        )
    )
    folder = tmp_path / "run"
    secrets = ["5ecret-of-argv", "k" * 40, "5ecret-of-environment", "heard on the console"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"WANDB_BASE_URL": NOWHERE, "WANDB_API_KEY": secrets[1], "ANY_TOKEN": secrets[2]}
    command = [sys.executable, str(program), str(folder), f"data.token={secrets[0]}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"W&B is out of reach ({NOWHERE}: [Errno 111] Connection refused); logging offline. Later: ")
    assert done.stdout == "heard on the console\n"
    assert [row["x"] for row in history(records(folder))] == [0, 1, 2]
    (offline,) = (folder / "wandb").iterdir()
    assert offline.match(line.rpartition("/")[2])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        for secret in secrets:
            assert secret.encode() not in path.read_bytes(), path.name


def test_a_failing_call_never_stops_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a service that dies in mid-run: one warning, and no exception."""
    log = make(tmp_path)
    own_id = log.version

    class Broken:
        def log(self, *args: Any, **kwargs: Any) -> None:
            raise BrokenPipeError("the service is gone\nat line 7")

        def finish(self, exit_code: int) -> None:
            raise TimeoutError("took too long")

    monkeypatch.setattr(log, "_experiment", Broken())
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            log.log_metrics({"x": 1.0}, step=step)
        log.close()
    assert [record.message for record in caplog.records] == [
        "W&B failed (BrokenPipeError: the service is gone); the training goes on without it where it must.",
        f"W&B did not take everything (TimeoutError: took too long). Later: wandb sync "
        f"{tmp_path}/wandb/offline-run-*-{own_id}",
    ]


def test_disabled_writes_nothing(tmp_path: Path) -> None:
    """Guards against an `off` that is only quiet."""
    log = make(tmp_path, mode="disabled")
    log.log_metrics({"x": 1.0}, step=1)
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_texts_are_tables_on_request(tmp_path: Path) -> None:
    log = make(tmp_path, tables=True)
    log.log_text("samples", columns=["step", "text"], data=[["3", "a"], ["3", "b"]], step=3)
    log.log_metrics({"x": 1.0}, step=3)
    log.close()
    (table,) = tmp_path.glob("wandb/*/files/media/table/samples_*.table.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    assert (content["columns"], content["data"]) == (["step", "text"], [["3", "a"], ["3", "b"]])
    (row,) = [item["item"] for item in of("history", records(tmp_path))]
    assert (row["_step"], row["x"], row["samples._type"]) == (3, 1, "table-file")


def test_a_table_that_hangs_is_left_and_pages_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards the client's endless wait for a server that went away after it had been reached."""
    log = make(tmp_path, tables=True)
    run, free, asked = log.experiment, threading.Event(), []
    plain = run.log

    def hang(row: dict[str, Any], step: int) -> None:
        asked.append(type(row["samples"]).__name__)
        if asked[-1] == "Table":
            free.wait(60)
        else:
            plain(row, step=step)

    monkeypatch.setattr(module, "TABLE_SECONDS", 0.05)
    monkeypatch.setattr(run, "log", hang)
    with caplog.at_level(logging.WARNING):
        for step in (3, 4):
            log.log_text("samples", columns=["text"], data=[["a"]], step=step)
    log.close()
    free.set()
    assert asked == ["Table", "Html", "Html"]
    assert [record.message for record in caplog.records if record.name == module.__name__] == [
        "W&B takes no Table (no answer in 0.05 seconds); sample texts are logged as pages from here on."
    ]


@pytest.mark.slow
def test_the_machine_is_watched_in_offline_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's own figures of the machine are on: every 15 seconds, here more often."""
    monkeypatch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.1")
    log = make(tmp_path)
    log.log_metrics({"x": 1.0}, step=1)
    time.sleep(1.0)
    log.close()
    (first, *_) = of("stats", records(tmp_path))
    assert first["item"]["proc.memory.rssMB"] > 50
