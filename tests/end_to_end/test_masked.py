"""Masked pre-training through the front door: train, score again, resume, and go on as a classifier."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.lm import LM

KIND = ["task=masked", "head=masked_token", "model=encoder", "model.dim=16", "model.num_layers=1", "model.num_heads=2",
        "++task.pseudo_perplexity_texts=2"]  # fmt: skip


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    return [*tiny, *KIND]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets a signal come while the given optimizer step is made, once."""
    plain, due = LM.training_step, set[int]()

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        step = self.trainer.global_step + 1
        if step in due:
            due.remove(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", training_step)
    return due.add


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "scores"),
    [
        ([], {"loss", "accuracy", "pseudo_perplexity"}),
        (["task.next_sentence=true", "model.token_types=2"], {"loss", "accuracy", "next_sentence_accuracy"}),
    ],
    ids=["texts", "pairs"],
)
def test_a_run_is_scored_as_it_was_and_goes_on_as_if_never_stopped(
    more: list[str], scores: set[str], words: list[str], cli: Callable[..., Any], stop: Callable[[int], None]
) -> None:
    Path("rows").mkdir()
    for split, count in (("train", 40), ("validation", 9), ("test", 9)):
        texts = [f"Number {count + i}. It is {'even' if i % 2 else 'odd'}! And then?" for i in range(count)]
        Path(f"rows/{split}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    words = [*words, "data.path=rows", *more]
    whole = cli("train", *words)
    assert whole.code == 0, whole.err
    results = whole.results
    assert set(results["val"]) == set(results["test"]) == scores
    assert any("train/next_sentence_loss" in row for row in whole.metrics) == bool(more)
    checkpoint = torch.load(whole.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert "<|mask|>" in checkpoint["manyheads"]["tokenizer"]
    for size in ("1", "7"):
        scored = cli("eval", f"run={whole.folder}", f"++task.eval_batch_size={size}", "to=figures.json")
        assert scored.code == 0, scored.err
        figures = json.loads(Path("figures.json").read_text())
        for split in ("val", "test"):
            assert figures[split] == pytest.approx(results[split], rel=1e-5)
    stop(4)
    first = cli("train", *words)
    assert first.code == 143
    resumed = cli("train", f"resume={first.folder}")
    assert resumed.code == 0, resumed.err
    last = torch.load(first.folder / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in checkpoint["state_dict"].items():
        assert torch.equal(value, last["state_dict"][name]), name


def test_a_classifier_starts_from_the_network_alone(words: list[str], cli: Callable[..., Any]) -> None:
    """The same numbers where nothing is trained: the network is the masked run's, in its shape, the head is new."""
    before = cli("train", *words)
    assert before.code == 0, before.err
    rows = [{"text": f"{word} text", "label": label} for word, label in (("good", "yes"), ("bad", "no"))] * 8
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ["data=json", "data.path={train: rows.jsonl, validation: rows.jsonl, test: rows.jsonl}"]
    done = cli("train", *data, "task=classification", "head=label", "logger=csv", f"init={before.folder}",
               "trainer.max_steps=1", "optim=sgd", "++optim.lr=1e-30", "++callbacks.samples=0")  # fmt: skip
    assert done.code == 0, done.err
    note = "the head, Label, starts anew: that run's was MaskedToken"
    assert note in " ".join(done.err.split() + done.out.split())
    assert any(note in one for one in done.results["run"]["notes"])
    ours, theirs = (
        torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (done, before)
    )
    network = [name for name in theirs if name.startswith("network.")]
    assert network
    assert all(torch.equal(ours[name], theirs[name]) for name in network)


def test_what_does_not_go_together_is_told(words: list[str], cli: Callable[..., Any]) -> None:
    for more, text in (
        (["head=next_token"], "head=next_token does not fit task=masked. Set head=masked_token."),
        (["model=tiny"], "model=tiny is causal, and head=masked_token needs bidirectional: "),
    ):
        done = cli("train", *words, *more)
        assert done.code != 0
        assert text in " ".join(done.err.split())
    done = cli("train", "data=pydocs", "model=encoder")
    assert (
        "model=encoder is bidirectional, and head=next_token needs causal or counting or encoder-decoder:"
        in " ".join(done.err.split())
    )
