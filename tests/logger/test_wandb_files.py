"""Guards a number that is sent to W&B twice, and one that is held back although W&B lacks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.logger.wandb import WandbLog, wandb
from manyheads.logger.wandb_files import lacking, names_in_files


def make(folder: Path, **settings: object) -> WandbLog:
    made = wandb(folder=folder, name="n", config={}, mode="offline", wandb_id="5eed5eed", **settings)  # type: ignore[arg-type]
    assert isinstance(made, WandbLog)
    return made


def test_only_what_is_not_there_is_lacking() -> None:
    known = {3: {"a", "b"}}
    assert lacking(known, 3, {"a": 1.0, "c": 2.0}) == {"c": 2.0}
    assert lacking(known, 4, {"a": 1.0}) == {"a": 1.0}


def test_a_file_of_nothing_holds_no_names(tmp_path: Path) -> None:
    """A process that is killed in its first seconds leaves the head of a file."""
    (tmp_path / "empty.wandb").write_bytes(b":W&B\x94\xeb\x00")
    assert names_in_files([tmp_path / "empty.wandb"]) == {}


@pytest.mark.slow
def test_what_w_and_b_has_is_not_sent_again_and_what_it_lacks_is(tmp_path: Path) -> None:
    """Numbers, pages and tables of steps that are made again; a name that an earlier row of the step had not; rows of
    which W&B never heard."""
    first = make(tmp_path)
    for step in (1, 2, 4):
        first.log_metrics({"norms/blocks.0": 1.0}, step=step)
    first.log_text("page", columns=["text"], data=[["a"]], step=4)
    first.close()
    history = [{"step": step, "norms/blocks.0": 1.0} for step in (1, 2, 3)]
    second = make(tmp_path, history=history, tables=True)
    second.log_metrics({"norms/blocks.0": 7.0, "val/loss": 2.0}, step=4)
    second.log_text("page", columns=["text"], data=[["a"]], step=4)
    second.log_text("table", columns=["text"], data=[["a"]], step=5)
    second.close()
    one, two = sorted(tmp_path.glob("wandb/*/*.wandb"), key=lambda file: file.stat().st_mtime)
    assert _names(one) == {1: {"norms/blocks.0"}, 2: {"norms/blocks.0"}, 4: {"norms/blocks.0", "page"}}
    assert _names(two) == {3: {"norms/blocks.0"}, 4: {"val/loss"}, 5: {"table"}}


def _names(file: Path) -> dict[int, set[str]]:
    known = names_in_files([file])
    return {
        step: {name for name in names if name in ("norms/blocks.0", "page", "val/loss", "table")}
        for step, names in known.items()
    }
