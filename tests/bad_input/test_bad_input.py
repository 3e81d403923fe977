"""Guards: a mistake that costs a traceback, a long wait or a folder that looks whole, instead of two lines that say what
to set. One row for each fault that a user can make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from .faults import BASE, BLIND, SMALL, Fault, check_left, check_said, content, folders_of, prepared, process
from .of_data import DATA, JSONL
from .of_runs import MACHINE, RUNS
from .of_settings import MEMBERS, NAMES, RANGES, SHAPES, TYPES
from .planted import file

FAULTS = {fault.id: fault for fault in (*NAMES, *TYPES, *RANGES, *SHAPES, *MEMBERS, *DATA, *RUNS, *MACHINE)}

ONE_OF_EACH = (
    *("group misspelt", "key misspelt", "choice misspelt", "verb misspelt", "key of generate misspelt"),
    *("text for a count", "text for a key of eval", "rate below 0", "temperature below 0"),
    *(
        "width by heads",
        "heads by groups",
        "rows longer than learned positions",
        "vocabulary that the data cannot fill",
    ),
    *("file missing", "file empty", "file unreadable", "not UTF-8", "malformed JSON"),
    *("text column absent", "text column not text", "test split empty", "hub unreachable"),
    *("no GPU", "disk full", "folder read-only", "loss not finite", "out of memory"),
    *("truncated: generate", "another kind of checkpoint", "a weight missing: eval"),
    *("finished run", "no run", "network changed", "weight missing", "network that a member cannot use"),
)
"""What runs every time; the other rows are slow together."""

AS_PROCESSES = (
    *("verb misspelt", "key misspelt", "width by heads", "not UTF-8", "no GPU", "finished run", "truncated: eval"),
    *("a weight missing: resume", "file system read-only", "disk full", "loss not finite", "out of memory"),
)


def rows(quick: Sequence[str]) -> list[Any]:
    return [pytest.param(f, id=name, marks=[pytest.mark.slow] * (name not in quick)) for name, f in FAULTS.items()]


@pytest.mark.parametrize("fault", rows(ONE_OF_EACH))
def test_a_mistake_is_told_in_two_lines_and_leaves_nothing_that_looks_whole(
    fault: Fault, place: Mapping[str, Path], cli: Callable[..., Any]
) -> None:
    words, run = prepared(fault, place), place["run"]
    before = content(run) if run.is_dir() else {}
    with fault.within():
        done = cli(*words)
        check_said(fault, done.code, done.err)
        check_left(fault, folders_of(fault, run))
    if not fault.failed and before:
        assert content(run) == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", [pytest.param(FAULTS[name], id=name) for name in AS_PROCESSES])
def test_a_process_says_the_same(fault: Fault, place: Mapping[str, Path]) -> None:
    """What only a process shows: the exit code, what libraries write to stderr, complaints at the interpreter's end."""
    words = prepared(fault, place)
    with fault.within():
        done = process(words)
        check_said(fault, done.returncode, done.stderr)
        check_left(fault, folders_of(fault, place["run"]))


@pytest.mark.slow
def test_an_unreachable_hub_is_told_at_once(place: Mapping[str, Path]) -> None:
    fault = FAULTS["hub unreachable"]
    start = time.monotonic()
    # a port that refuses at once, as a firewall does; without a network the name is not found, as fast
    done = process(
        prepared(fault, place), HF_HUB_OFFLINE="0", HF_DATASETS_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9"
    )
    check_said(fault, done.returncode, done.stderr)
    assert time.monotonic() - start < 45  # of which the imports take most


@pytest.mark.slow
def test_memory_that_runs_out_in_training_is_told_and_the_run_says_that_it_failed(place: Mapping[str, Path]) -> None:
    """The process may have no more than 200 MB on top of what it has when training starts."""
    program = (
        "import sys, resource, torch, datasets, pytorch_lightning, manyheads.train, manyheads.trainer\n"
        "from pathlib import Path\n"
        "from manyheads.cli import main\n"
        "from manyheads.lm import LM\n"
        "start = LM.on_train_start\n"
        "def limit(lm):\n"
        "    size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)\n"
        "    start(lm)\n"
        "LM.on_train_start = limit\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    # 33 million weights: their gradients and moments take 400 MB
    words = (BASE + "model.dim=512 model.ff_dim=4096 optim=adamw trainer.max_steps=3 callbacks.samples=0").format(
        **place
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()], capture_output=True, text=True, timeout=120, env=os.environ
    )
    fault = Fault("", "", r"out of memory: .* more could not be had\.\nLower task\.batch_size", failed=True)
    check_said(fault, done.returncode, done.stderr)
    check_left(fault, folders_of(fault, place["run"]))


@pytest.mark.parametrize("words", ["model.dim=15", "model.dmi=8"])
def test_the_traceback_is_shown_to_those_who_ask(
    words: str, place: Mapping[str, Path], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = cli(*BLIND.split(), words)
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert f"error: {words}" in done.err.splitlines()[-1] or f"error: {words}" in done.err.splitlines()[-2]
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_texts_shorter_than_a_row_work(cli: Callable[..., Any]) -> None:
    file("x.jsonl", "".join(json.dumps({"text": f"t{i}"}) + "\n" for i in range(30)))(Path())
    done = cli(*JSONL.split(), *SMALL.split(), "task.seq_len=512", "trainer.max_steps=1")
    assert (done.code, done.err) == (0, "")
    assert done.results["test"]["loss"] > 0


def test_every_fault_is_named_once() -> None:
    assert len(FAULTS) == sum(map(len, (NAMES, TYPES, RANGES, SHAPES, MEMBERS, DATA, RUNS, MACHINE)))
    assert {*ONE_OF_EACH, *AS_PROCESSES} <= FAULTS.keys()
