"""The training losses of several ranks are those of one process with the same global batch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ..conftest import run_main
from .conftest import TORCHRUN, Ranked, losses

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(300)]

# ragged rows: packing is off; dropout is off, as it is by default
FIFTY = ["trainer.max_steps=50", "trainer.log_every_n_steps=1", "trainer.val_every_n_steps=25", "task.pack=false",
         "++callbacks.samples=0"]  # fmt: skip
TOLERANCE = {"32": 1e-5, "64": 1e-10}


@pytest.fixture(scope="module")
def one_process(tiny: list[str], session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Losses and scores of one process, by precision."""
    found = {}
    for precision in TOLERANCE:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MANYHEADS_CACHE", str(session_cache))
            patch.chdir(tmp_path_factory.mktemp("one"))
            done = run_main("train", *tiny, *FIFTY, "task.batch_size=8", f"trainer.precision={precision}")
        assert done.code == 0, done.err
        found[precision] = (losses(done.metrics), done.results)
    return found


WAYS: dict[str, list[str]] = {
    "ddp": ["trainer=ddp", "trainer.devices=2", "task.batch_size=4"],
    "two micro-batches": ["trainer=ddp", "trainer.devices=2", "task.batch_size=2", "trainer.accumulate_grad_batches=2"],
}


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("way", WAYS)
def test_the_same_losses(
    way: str, precision: str, tiny: list[str], ranked: Callable[..., Ranked], one_process: dict[str, Any]
) -> None:
    done = ranked(*tiny, *FIFTY, *WAYS[way], f"trainer.precision={precision}")
    expected, results = one_process[precision]
    assert len(expected) == 50
    assert losses(done.metrics) == pytest.approx(expected, rel=TOLERANCE[precision])
    for split in ("val", "test"):
        assert done.results[split] == pytest.approx(results[split], rel=10 * TOLERANCE[precision])
    assert done.results["run"]["tokens_seen"] == results["run"]["tokens_seen"]
    assert (done.results["run"]["devices"], results["run"]["devices"]) == (2, 1)


def test_torchrun_is_the_same_run(tiny: list[str], ranked: Callable[..., Ranked], one_process: dict[str, Any]) -> None:
    done = ranked(*tiny, *FIFTY, "task.batch_size=4", "trainer.precision=32", command=TORCHRUN)
    assert losses(done.metrics) == pytest.approx(one_process["32"][0], rel=1e-5)
    assert done.out.count("best checkpoint") == 1
    assert done.results["run"]["devices"] == 2


def test_dropout_differs_between_ranks_and_repeats_with_the_seed(
    tiny: list[str], ranked: Callable[..., Ranked]
) -> None:
    """Ranks that drop the same units would see half of the noise. Each rank's weights stay the same all the while."""
    words = [*tiny, "trainer=ddp", "trainer.devices=2", "model.dropout=0.3", "trainer.log_every_n_steps=1"]
    first, again = ranked(*words), ranked(*words)
    assert losses(first.metrics) == losses(again.metrics)
    states = torch.load(first.folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["RngState"]["ranks"]
    assert len(states) == 2
    assert not torch.equal(states[0]["torch"], states[1]["torch"])


def test_one_folder_one_line_one_tokenizer_and_one_wandb_run(tiny: list[str], ranked: Callable[..., Ranked]) -> None:
    words = [word for word in tiny if word not in ("tokenizer=byte", "logger=csv")]
    done = ranked(*words, "tokenizer=bpe", "tokenizer.vocab_size=300", "trainer=ddp", "trainer.devices=2")
    assert len(list(done.place.glob("outputs/runs/*"))) == 1
    assert len(list(done.folder.glob("wandb/offline-run-*"))) == 1
    for line in ("task       generation", "step 3/6  validation", "run folder:", "best checkpoint"):
        assert done.out.count(line) == 1, line
    assert "4 in a batch of each of 2 devices" in done.out
    assert re.search(r"device +2 x cpu: .*, 32-true, ddp$", done.out, re.MULTILINE)
    assert [int(row["step"]) for row in done.metrics] == sorted({int(row["step"]) for row in done.metrics})
    predictions = (done.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in predictions] == [f'{{"id": {number}' for number in range(13)]
    assert done.err == ""


COUNTED = """
import time
from pathlib import Path

from manyheads import ranks
from manyheads.data.source import Source
from manyheads.marks import builder
from manyheads.tokenizer import bpe
from manyheads.tokenizer.base import Tokenizer

plain, notes = bpe._train, Path(__file__).with_name("notes.txt")


def note(what: str) -> None:
    with notes.open("a") as file:
        file.write(f"{what} by rank {ranks.rank()}\\n")


def train(*args: object) -> Tokenizer:
    note("trained")
    time.sleep(2)  # long enough for the other rank to come by
    return plain(*args)


bpe._train = train


@builder
def counted(*, source: Source, vocab_size: int) -> Tokenizer:
    note("asked for")
    return bpe.bpe(source=source, vocab_size=vocab_size)
"""


def test_ranks_that_find_no_tokenizer_train_one_together(
    tiny: list[str], ranked: Callable[..., Ranked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a tokenizer for each rank: they would be equal, but cost as often. The other rank waits for the cache."""
    (tmp_path / "counted.py").write_text(COUNTED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))
    own = ["tokenizer._target_=counted.counted", "allow=[counted]"]
    words = [word for word in tiny if word != "tokenizer=byte"]
    ranked(*words, "tokenizer=bpe", "tokenizer.vocab_size=300", *own, "trainer=ddp", "trainer.devices=2")
    notes = (tmp_path / "notes.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(note for note in notes if note.startswith("asked")) == ["asked for by rank 0", "asked for by rank 1"]
    assert len([note for note in notes if note.startswith("trained")]) == 1
