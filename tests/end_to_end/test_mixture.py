"""Whole runs on a mixture: as it is typed, as a yaml of one's own, stopped and resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads
from manyheads.errors import UserError

MADE_UP = "".join(f"line {i} of a running text, {i * i}\n" for i in range(120))


@pytest.fixture
def words(tiny: list[str], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A JSON corpus and a text of one's own, as it is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(MADE_UP)
    rest = [word for word in tiny if not word.startswith("data")]
    return [*rest, "data=mixture", "+data@data.sources.web=json", f"data.sources.web.path={corpus}",
            "+data@data.sources.own=text", "data.sources.own.path=own.txt"]  # fmt: skip


WEIGHTS = "data.weights={web:0.25,own:0.75}"


def test_each_source_is_scored_whole_and_on_its_own(words: list[str], texts: dict[str, list[str]]) -> None:
    """Guards: weights that reach into the scores, and scores by source that do not make up the whole.

    The whole's bits are those of the sources together: each source's bits per byte times its bytes, added."""
    results = manyheads.train(overrides=[*words, WEIGHTS])
    (folder,) = Path("outputs/runs").iterdir()
    rows = [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
    web, own = rows[:-1], rows[-1:]
    assert sum(row["bytes"] for row in web) == sum(len(text.encode()) for text in texts["test"])
    assert 0.03 < own[0]["bytes"] / len(MADE_UP) < 0.07
    for name, part in (("web", web), ("own", own)):
        bits = sum(row["loss"] for row in part) / math.log(2) / sum(row["bytes"] for row in part)
        assert results["test"][f"bits_per_byte/{name}"] == pytest.approx(bits, rel=1e-9)
        assert results["val"][f"bits_per_byte/{name}"] > 0
    whole = sum(row["loss"] for row in rows) / math.log(2) / sum(row["bytes"] for row in rows)
    assert results["test"]["bits_per_byte"] == pytest.approx(whole, rel=1e-6)
    notes = results["run"]["notes"]
    assert any(note.startswith("web: 25.0% of the training tokens; train 90 rows") for note in notes)
    assert any(note.startswith("own: 75.0% of the training tokens") for note in notes)
    assert any(note.startswith("training went through web 0.") for note in notes)


@pytest.mark.slow
def test_a_yaml_of_ones_own_is_the_same_run(
    words: list[str], corpus: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """The five lines that the comment of conf/data/mixture.yaml shows."""
    (tmp_path / "my" / "data").mkdir(parents=True)
    (tmp_path / "my" / "data" / "my_mixture.yaml").write_text(
        "defaults: [mixture, json@sources.web, text@sources.own, _self_]\n"
        f"sources: {{web: {{path: {corpus}}}, own: {{path: own.txt}}}}\n"
        "weights: {web: 0.25, own: 0.75}\n"
    )
    typed = cli("train", *words, WEIGHTS)
    assert typed.code == 0, typed.err
    rest = [word for word in words if "data" not in word]
    named = cli("train", "--config-dir", "my", *rest, "data=my_mixture")
    assert named.code == 0, named.err
    assert named.results["test"] == typed.results["test"]
    assert named.results["run"]["data_fingerprint"] == typed.results["run"]["data_fingerprint"]


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_never_stopped(words: list[str], cli: Callable[..., Any]) -> None:
    """Guards: sources that begin anew, or that are mixed otherwise, after a resume; over an epoch's end too."""
    more = ["++trainer.limit_val_batches=1", "trainer.val_every_n_steps=50", "++optim.schedule=constant", WEIGHTS]
    whole = cli("train", *words, *more, "trainer.max_steps=140")
    assert whole.code == 0, whole.err
    part = cli("train", *words, *more, "trainer.max_steps=5")
    for steps in (33, 140):
        done = cli("train", f"resume={part.folder}", f"trainer.max_steps={steps}")
        assert done.code == 0, done.err
    found = [torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, part)]
    assert found[0]["epoch"] >= 1
    for name, value in found[0]["state_dict"].items():
        assert torch.equal(value, found[1]["state_dict"][name]), name
    assert cli("eval", f"run={part.folder}").code == 0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["data.weights={web:1}"], "data.weights has none for own"),
        (["++data.sources.own.streaming=true"], "data.sources.own.streaming=true: a mixture has to know how large"),
        (["+data@data.sources.own=json"], "own"),
        (["++data.sources.more=null"], "data.sources.more=null names no source"),
    ],
)
def test_mistakes_are_told(words: list[str], more: list[str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        manyheads.train(overrides=[*words, *more])
    assert not Path("outputs").exists()
