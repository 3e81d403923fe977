"""Guards: a log that lacks what the screen showed, repeats a live line a thousand times, or holds a secret."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from manyheads.errors import UserError
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
    screen.print("before")
    screen.close()
    screen.close()
    screen.print("later")
    assert (tmp_path / "train.log").read_text() == "before\n"
    assert "later" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_warnings_are_logged_and_shown_as_before(
    screen: RunConsole, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a log without the reason of what went wrong, a warning printed twice, and one that is printed no more.

    Without a handler, as in a user's process; one logger keeps its records to itself, as Lightning's does.
    """
    monkeypatch.setattr(logging.root, "handlers", [])
    own = logging.getLogger("test_console.own")
    monkeypatch.setattr(own, "propagate", False)
    monkeypatch.setattr(own, "handlers", [logging.StreamHandler(shown := io.StringIO())])
    plain = logging.getLogger("test_console.plain")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        before = warnings.showwarning
        screen.log_to(tmp_path / "train.log")
        plain.warning("one %s", "https://user:hunter3@host")
        plain.info("not this")
        own.error("two")
        warnings.warn("three [b]", UserWarning, stacklevel=1)
        screen.close()
        assert warnings.showwarning is before
    plain.warning("later")
    assert (tmp_path / "train.log").read_text() == (
        "warning: one https://***@host\nerror: two\nwarning: UserWarning: three [b]\n"
    )
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line in ("one https://user:hunter3@host", "later")] == [
        "one https://user:hunter3@host",
        "later",
    ]
    assert [str(each.message) for each in warned] == ["three [b]"]
    assert shown.getvalue() == "two\n"
    assert logging.root.handlers == []


def test_the_log_ends_with_what_the_run_ended_with(tmp_path: Path) -> None:
    """A mistake in its own words, a fault of ours with where it was; a run that ends well says nothing more."""
    for name, error in {"a": UserError("set b"), "c": RuntimeError("planted"), "d": None}.items():
        console = RunConsole(file=io.StringIO())
        with contextlib.suppress(UserError, RuntimeError), contextlib.closing(console):
            console.log_to(tmp_path / name)
            console.print("begun")
            if error:
                raise error
    assert (tmp_path / "a").read_text() == "begun\nerror: set b\n"
    found = (tmp_path / "c").read_text()
    assert found.startswith("begun\nerror: Traceback (most recent call last):\n")
    assert found.endswith("RuntimeError: planted\n")
    assert (tmp_path / "d").read_text() == "begun\n"


def test_what_ends_before_anything_is_said_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    """A resume that is refused while its parts are built."""
    log = tmp_path / "train.log"
    for before in (None, "of before\n"):
        if before is not None:
            log.write_text(before)
        console = RunConsole(file=io.StringIO())
        with contextlib.suppress(UserError), contextlib.closing(console):
            console.log_to(log)
            raise UserError("refused")
        assert (log.read_text() if log.exists() else None) == before


RANKS = """
import contextlib, io, sys, warnings
from pathlib import Path
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from manyheads.run.console import RunConsole
from manyheads.run.folder import RunFolder

class Own(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        warnings.warn(f"of rank {self.global_rank}", stacklevel=1)
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

warnings.simplefilter("ignore")
warnings.filterwarnings("always", message="of rank")
console = RunConsole(file=io.StringIO())
with contextlib.closing(console):
    console.log_to(RunFolder(Path(sys.argv[1])).log(rank_zero_only.rank))
    console.print("started")
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(Own(), torch.utils.data.DataLoader(torch.ones(4, 2)))
"""


@pytest.mark.slow
def test_each_of_two_real_ranks_writes_a_log_of_its_own(tmp_path: Path) -> None:
    """Guards two processes that write into one file, and a rank whose warnings nobody finds."""
    program = tmp_path / "program.py"
    program.write_text(RANKS)
    subprocess.run([sys.executable, str(program), str(tmp_path)], check=True, capture_output=True, timeout=100)
    assert sorted(path.name for path in tmp_path.glob("train*")) == ["train.log", "train.rank1.log"]
    for name, rank in (("train.log", 0), ("train.rank1.log", 1)):
        assert (tmp_path / name).read_text() == f"started\nwarning: UserWarning: of rank {rank}\n"
