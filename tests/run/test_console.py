"""Guards: a log that lacks what the screen showed, repeats a live line a thousand times, or holds a secret."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from manyheads.run.console import RunConsole


@pytest.fixture
def screen() -> Iterator[RunConsole]:
    """A terminal of 20 columns."""
    made = RunConsole(file=io.StringIO(), width=20, force_terminal=True)
    yield made
    made.close()


def test_what_was_printed_before_there_was_a_log_goes_first(screen: RunConsole, tmp_path: Path) -> None:
    screen.print("one")
    screen.log_to(tmp_path / "train.log")
    screen.print("two")
    assert (tmp_path / "train.log").read_text() == "one\ntwo\n"


def test_a_resumed_run_goes_on_in_its_log(screen: RunConsole, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("before\n")
    screen.log_to(tmp_path / "train.log")
    screen.print("after")
    screen.close()
    assert (tmp_path / "train.log").read_text() == "before\nafter\n"


def test_the_log_is_plain_and_has_its_own_width(screen: RunConsole, tmp_path: Path) -> None:
    screen.log_to(tmp_path / "train.log")
    screen.print(Text("word " * 12, style="bold red"))
    assert "\x1b[" in screen.file.getvalue()  # type: ignore[attr-defined]
    assert screen.file.getvalue().count("\n") > 1  # type: ignore[attr-defined]
    assert (tmp_path / "train.log").read_text().rstrip() == ("word " * 12).rstrip()


def test_a_pipe_gets_whole_lines_without_blanks_at_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards `grep note:` on a log that was wrapped at 80 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    pipe = RunConsole(file=io.StringIO())
    table = Table.grid()
    for text in ("short", "word " * 60):
        table.add_row(text, "x")
    pipe.print(table)
    assert pipe.file.getvalue() == f"short{' ' * 295}x\n{'word ' * 60}x\n"  # type: ignore[attr-defined]
    pipe.print("end  ")
    assert pipe.file.getvalue().endswith("\nend\n")  # type: ignore[attr-defined]


def test_a_live_line_is_not_logged_and_what_is_printed_above_it_is(screen: RunConsole, tmp_path: Path) -> None:
    screen.log_to(tmp_path / "train.log")
    with Live(Text("bar"), console=screen, auto_refresh=False) as live:
        for step in range(5):
            live.update(Text(f"bar {step}"), refresh=True)
        screen.print("a validation")
    assert (tmp_path / "train.log").read_text() == "a validation\n"


def test_secrets_are_masked_in_the_log(screen: RunConsole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MANYHEADS_SECRET_X", "hunter2")
    screen.print("early hunter2")
    screen.log_to(tmp_path / "train.log")
    screen.print("https://user:hunter3@host/x and hunter2")
    assert (tmp_path / "train.log").read_text() == "early ***\nhttps://***@host/x and ***\n"


def test_a_closed_log_takes_no_more_and_the_screen_does(screen: RunConsole, tmp_path: Path) -> None:
    screen.log_to(tmp_path / "train.log")
    screen.close()
    screen.close()
    screen.print("later")
    assert (tmp_path / "train.log").read_text() == ""
    assert "later" in screen.file.getvalue()  # type: ignore[attr-defined]
