"""Guards: rows that are none of the task's and cost a traceback, a run that ends late or a model that learned nonsense."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads import compatibility
from manyheads.build import CONF_DIR, complete, target_of
from manyheads.errors import UserError
from manyheads.rebuild import build_task
from manyheads.run.compose import compose
from manyheads.testing import Rows, byte_tokenizer

from .cases import FORMS, Case, good, written
from .faults import process
from .of_answers import DIALOGUES, FITS, PAIRS, POSITIONS, QUESTIONS
from .of_rows import CLASSES, TEXT

CASES = {case.id: case for case in (*TEXT, *CLASSES, *PAIRS, *QUESTIONS, *DIALOGUES, *POSITIONS, *FITS)}
RUN = [
    "task.batch_size=4", "trainer.max_steps=2", "trainer.val_every_n_steps=1", "logger=csv", "optim=adamw", "tokenizer=byte",
    "++callbacks.sample_tokens=4", "++optim.warmup_steps=0",
]  # fmt: skip

IN_A_RUN = (
    *("classification: label of test that train lacks", "classification: label outside of data.labels"),
    *("translation: references lists of lists", "qa: model=encoder_decoder", "chat: lone surrogate"),
)
"""What is also shown by a whole run every time; for the other cases that is slow together."""
AS_PROCESSES = ("summarization: references a number", "qa: lone surrogate", "chat: wrong role")


@functools.cache
def composed(*words: str) -> DictConfig:
    return complete(compose("train", [*words, *RUN], CONF_DIR).config)


def prepare(case: Case) -> str:
    """What a run does before it has a network, with rows in memory; its notes."""
    chosen, settings = case.settings[:3], case.settings[3:]
    cfg = OmegaConf.merge(composed(*chosen), OmegaConf.from_dotlist(settings))
    assert isinstance(cfg, DictConfig)
    splits = good()
    case.change(splits)
    source = Rows(splits)
    compatibility.check_shape(cfg)
    source.ask(target_of(cfg.task, "task").fields)  # type: ignore[attr-defined]
    task = build_task(cfg, source, byte_tokenizer())
    task.prepare()
    for batches in (task.training_loader(), task.val_dataloader(), task.test_dataloader()):
        assert list(batches)
    return "\n".join(task.notes)


def marks(case: Case) -> list[pytest.MarkDecorator]:
    """That which works is read alike by every task: of some it is slow."""
    return [pytest.mark.slow] * (case in TEXT and case.says is None and case.form not in ("masked", "summarization"))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name, marks=marks(case)) for name, case in CASES.items() if not case.files]
)
def test_rows_are_told_before_anything_is_trained_on_them(case: Case) -> None:
    if case.says is None:
        assert re.search(case.notes, prepare(case))
        return
    with pytest.raises(UserError) as caught:
        prepare(case)
    assert re.search(case.says, str(caught.value)), caught.value
    assert len(str(caught.value).splitlines()) <= 2


def words(case: Case, folder: Path) -> list[str]:
    splits = good()
    case.change(splits)
    return ["train", *RUN, *case.settings, "data=json", f"data.path={written(splits, folder)}"]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[pytest.mark.slow] * (name not in IN_A_RUN)) for name, case in CASES.items()],
)
def test_a_run_says_it_in_two_lines_and_leaves_nothing(case: Case, cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli(*words(case, tmp_path / "rows"))
    if case.says is None:
        assert (done.code, done.err) == (0, "")
        assert all(value == value or case.form == "classification" for value in done.results["test"].values())
        assert re.search(case.notes, "\n".join(done.results["run"]["notes"]))
        return
    check(case, done.code, done.err)


def check(case: Case, code: int, err: str) -> None:
    assert code == 1
    assert err.startswith("error: "), err
    assert len(err.splitlines()) <= 2, err
    assert case.says is not None
    assert re.search(case.says, err), err
    assert not list(Path("outputs/runs").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(CASES[name], id=name) for name in AS_PROCESSES])
def test_a_process_says_the_same(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = process(words(case, tmp_path / "rows"))
    check(case, done.returncode, done.stderr)


def test_every_case_is_named_once() -> None:
    assert len(CASES) == sum(map(len, (TEXT, CLASSES, PAIRS, QUESTIONS, DIALOGUES, POSITIONS, FITS)))
    assert {*IN_A_RUN, *AS_PROCESSES} <= CASES.keys()
    assert {case.form for case in CASES.values()} == set(FORMS)
