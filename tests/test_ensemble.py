"""Guards runs that are asked together: the same average by every way in, and runs that mean other tokens by the same numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads
from manyheads.ensemble import runs_of
from manyheads.errors import UserError
from manyheads.testing import Rows, byte_tokenizer, tiny_network, tiny_run
from manyheads.tokenizer.character import character

TEXT = "the files of the run"


def mean_loss(text: str) -> float:
    """Of the mean of the probabilities of the tiny networks of seeds 1 and 2, summed over the text and its end."""
    tokenizer = byte_tokenizer()
    ids = [tokenizer.end_id, *tokenizer.encode(text)]
    each = []
    for seed in (1, 2):
        network, head = (part.eval() for part in tiny_network(tokenizer.vocab_size, seed=seed))
        with torch.no_grad():
            each.append(head.logits(network({"input_ids": torch.tensor([ids])}))[0].softmax(-1))  # type: ignore[operator]
    labels = torch.tensor([*ids[1:], tokenizer.end_id])
    return -float(torch.stack(each).mean(0).gather(1, labels[:, None]).log().sum())


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one, two = (tiny_run(tmp_path / name, checkpoints={"best": seed}) for name, seed in (("one", 1), ("two", 2)))
    return one, two


@pytest.fixture
def second(tiny_trained: Any, cli: Callable[..., Any]) -> Path:
    """Another run of the same tokens."""
    done = cli("train", f"init={tiny_trained.folder}", "seed=2", "trainer.max_steps=2", "logger=csv")
    assert done.code == 0, done.err
    return done.folder


@pytest.mark.parametrize("as_list", [True, False])
def test_a_text_is_scored_by_the_mean_of_probabilities(pair: tuple[Path, Path], as_list: bool) -> None:
    text = TEXT[:12]  # within the context of 16 tokens
    lm = manyheads.load(pair[0], device="cpu", ensemble=[pair[1]] if as_list else str(pair[1]))
    assert lm.score(text).loss * lm.score(text).tokens == pytest.approx(mean_loss(text), rel=1e-5)
    swapped = manyheads.load(pair[1], device="cpu", ensemble=[pair[0]])
    assert lm.score(text).loss == pytest.approx(swapped.score(text).loss, rel=1e-6)
    assert not lm.network.training
    assert lm.generate("the", temperature=0, max_new_tokens=8) == swapped.generate(
        "the", temperature=0, max_new_tokens=8
    )


def test_verbs_ask_all_of_them(tiny_trained: Any, second: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    words = [f"run={tiny_trained.folder}", f"ensemble=[{second}]"]
    done = cli("generate", *words, "temperature=0", "max_new_tokens=8", "to=texts.jsonl", "the")
    assert done.code == 0, done.err
    text = json.loads((tmp_path / "texts.jsonl").read_text(encoding="utf-8"))["text"]
    lm = manyheads.load(tiny_trained.folder, device="cpu", ensemble=[second])
    assert text == lm.generate("the", temperature=0, max_new_tokens=8)
    done = cli("predict", *words, "input.text=the files", "to=answers.jsonl")
    assert done.code == 0, done.err
    [line] = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [{"text": "the files"}]
    assert line["loss"] == pytest.approx(lm.predict(rows)[0]["loss"], rel=1e-6)
    assert line["loss"] != pytest.approx(manyheads.load(tiny_trained.folder).predict(rows)[0]["loss"], rel=1e-6)


def test_eval_scores_the_average_of_runs(
    tiny_trained: Any, second: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    def figures(*words: str) -> dict[str, Any]:
        done = cli("eval", f"run={tiny_trained.folder}", *words, "to=figures.json")
        assert done.code == 0, done.err
        return json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))

    itself = figures(f"ensemble=[{tiny_trained.folder}]")
    for split in ("val", "test"):
        assert itself[split] == pytest.approx(tiny_trained.results[split], rel=1e-5)
    both = figures(f"ensemble=[{second}]")["test"]
    alone = [tiny_trained.results["test"]["loss"], figures_of(second)["loss"]]
    assert alone[0] != alone[1]
    assert both["loss"] <= sum(alone) / 2 + 1e-6  # the log of a mean is no less than the mean of logs
    assert both["loss"] not in alone
    assert figures(f"ensemble={second}", "task.batch_size=3")["test"] == pytest.approx(both, rel=1e-5)


def figures_of(run: Path) -> dict[str, float]:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))["test"]


@pytest.mark.parametrize("value", [3, [""], {"a": "b"}, [None]])
def test_what_names_no_runs_is_said(value: Any) -> None:
    with pytest.raises(UserError, match=r"^ensemble=.*: set a list of runs, such as ensemble=\[RUN,RUN\]\.$"):
        runs_of(value)


def test_a_run_of_another_tokenizer_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = tiny_run(tmp_path / "other", tokenizer=character(source=Rows({"train": ["abc", "bcd", "cde"]})))
    with pytest.raises(UserError) as caught:
        manyheads.load(pair[0], ensemble=[other])
    assert "its tokenizer is not that of the first run" in str(caught.value)


@pytest.mark.parametrize("verb", ["eval", "generate", "predict"])
def test_a_run_that_is_not_there_is_named(tiny_trained: Any, cli: Callable[..., Any], verb: str) -> None:
    more = {"predict": ["input.text=a"]}.get(verb, [])
    done = cli(verb, f"run={tiny_trained.folder}", "ensemble=[nowhere]", *more)
    assert done.code == 1
    assert done.err.startswith("error: ensemble=nowhere: there is no such folder.")


def test_nothing_named_changes_nothing(pair: tuple[Path, Path]) -> None:
    assert math.isclose(manyheads.load(pair[0], ensemble=[]).score(TEXT).loss, manyheads.load(pair[0]).score(TEXT).loss)
