"""A network that counts, from end to end: the same counts whatever the batches, through a stop, and from other counts on."""

from __future__ import annotations

import json
import math
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TEXTS = [f"{name} lives in {place}. It {verb} there." for name in ("Ada", "Ben", "Zoë") for place in ("Rome", "Oslo", "Kyiv") for verb in ("rains", "snows")]  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS * 3), encoding="utf-8")
    for split in ("validation", "test"):
        rows = [{"text": text} for text in TEXTS[::5]]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return [
        "model=ngram", "model.order=3", "tokenizer=byte", "data=json", f"data.path={tmp_path}", "task.seq_len=64",
        "task.batch_size=2", "logger=csv", "trainer.val_every_n_steps=4", "callbacks.samples=0",
    ]  # fmt: skip


def counted(folder: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{checkpoint}.ckpt", weights_only=True)["state_dict"]


def test_every_label_is_counted_once_whatever_the_batches(words: list[str], cli: Callable[..., Any]) -> None:
    """The counts by hand: a text is its bytes between two ends; each label with the two before it, or one at the start."""
    one, other = cli("train", *words), cli("train", *words, "task.batch_size=5", "seed=9", "task.pack=false")
    assert (one.code, other.code) == (0, 0), one.err + other.err
    first, second = counted(one.folder), counted(other.folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    by_hand: Counter[tuple[int, ...]] = Counter()
    for text in TEXTS * 3:
        ids = [256, *text.encode(), 256]
        by_hand.update(tuple(ids[max(0, end - 2) : end + 1]) for end in range(1, len(ids)))
    assert int(first["network.counts"].sum()) == sum(by_hand.values())
    assert sorted(first["network.counts"].tolist()) == sorted(by_hand.values())
    assert one.results["test"] == pytest.approx(other.results["test"])
    assert one.results["run"]["parameters"] > len(by_hand)
    assert not any("train/loss" in row for row in one.metrics)


def test_a_pass_that_was_stopped_goes_on_where_it_was(
    words: list[str], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from manyheads.lm import LM

    whole = cli("train", *words)
    plain, sent = LM.training_step, []

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 5 and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", training_step)
    stopped = cli("train", *words)
    assert stopped.code == 143
    assert 0 < int(counted(stopped.folder)["network.counts"].sum()) < int(counted(whole.folder)["network.counts"].sum())
    assert cli("train", f"resume={stopped.folder}").code == 0
    first, second = counted(whole.folder), counted(stopped.folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    results = json.loads((stopped.folder / "results.json").read_text())
    assert results["test"] == pytest.approx(whole.results["test"])
    assert results["run"]["steps"] == whole.results["run"]["steps"]


@pytest.mark.slow
def test_counts_go_on_from_those_of_another_run(words: list[str], cli: Callable[..., Any]) -> None:
    """`init`: each text has been seen twice then."""
    first = cli("train", *words)
    second = cli("train", *words[2:], f"init={first.folder}", "optim=counting")
    assert second.code == 0, second.err
    before, after = counted(first.folder), counted(second.folder)
    assert torch.equal(after["network.grams"], before["network.grams"])
    assert torch.equal(after["network.counts"], 2 * before["network.counts"])


def test_it_writes_is_evaluated_and_predicts(words: list[str], cli: Callable[..., Any], tmp_path: Path) -> None:
    run = cli("train", *words, "model.order=6")
    written = cli("generate", f"run={run.folder}", "temperature=0", "max_new_tokens=9", "Ada lives")
    assert written.code == 0, written.err
    assert " in " in written.out
    found = tmp_path / "scores.json"
    assert cli("eval", f"run={run.folder}", f"to={found}", "task.batch_size=3").code == 0
    assert json.loads(found.read_text())["test"] == pytest.approx(run.results["test"], rel=1e-6)
    assert run.results["test"]["bits_per_byte"] < math.log2(257) / 2
    exported = json.loads((run.folder / "export" / "config.json").read_text())
    assert (exported["architectures"], exported["order"]) == (["NGram"], 6)


@pytest.mark.slow
def test_an_ngram_of_another_order_does_not_go_on(words: list[str], cli: Callable[..., Any]) -> None:
    run = cli("train", *words)
    done = cli("train", *words[2:], f"init={run.folder}", "optim=counting", "model.order=30")
    assert done.code == 1
    assert "network.grams is" in done.err


def test_what_it_costs_is_told(cli: Callable[..., Any]) -> None:
    done = cli("model", "model=ngram")
    assert done.code == 0, done.err
    assert "It counts: what it keeps grows with the text" in done.out
