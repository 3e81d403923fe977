"""Guards rows that go on with the state of the row before: after a stop, in any split of a step, and through validations."""

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

NETWORKS = {
    "lstm": ["model=lstm", "model.dim=16"],
    "gru": ["model=gru", "model.dim=16", "model.num_layers=1"],
    "rnn": ["model=rnn", "model.dim=16"],
    "linear_attention": ["model=linear_attention", "model.dim=16", "model.num_layers=1", "model.num_heads=2"],
}
DROPPED = ["++model.variational=true", "++model.dropout=0.2"]
SLOW = {"gru", "rnn"}
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETWORKS]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Texts of 5 to 60 tokens in rows of 8: most states go through several rows, and many rows have two texts."""
    texts = [f"{'abcdefghijkl' * 4}"[: 4 + 7 * i % 44] + f" {i * i} text" for i in range(18)]
    for name, rows in {"train": texts, "scored": texts[:5]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return [
        "data=json", "data.path={train: train.jsonl, validation: scored.jsonl, test: scored.jsonl}", "tokenizer=byte",
        "task.seq_len=8", "task.batch_size=4", "++task.carry=true", "trainer.log_every_n_steps=1", "logger=csv",
        "trainer.max_steps=26", "trainer.val_every_n_steps=7", "++callbacks.sample_tokens=8", "++baselines=false",
    ]  # fmt: skip


def losses(done: Any) -> list[float]:
    return [row["train/loss"] for row in done.metrics if "train/loss" in row]


def weights(done: Any) -> dict[str, torch.Tensor]:
    return torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("network", ALL)
def test_a_run_stopped_again_and_again_is_the_run_that_was_never_stopped(
    network: str, words: list[str], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout is on where it is under masks; an epoch has 18 steps, so that the last stop is in the second."""
    words = [*words, *NETWORKS[network], *(DROPPED if network == "lstm" else [])]
    whole = cli("train", *words)
    assert whole.code == 0, whole.err
    plain, due = LM.training_step, dict[int, int]()

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        if signum := due.pop(self.trainer.global_step + 1, None):
            os.kill(os.getpid(), signum)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", training_step)
    first = None
    for step in (1, 7, 22):
        due[step] = signal.SIGTERM
        stopped = cli("train", *words) if first is None else cli("train", f"resume={first.folder}")
        first = first or stopped
        assert stopped.code == 143, stopped.err
    resumed = cli("train", f"resume={first.folder}")  # type: ignore[union-attr]
    assert resumed.code == 0, resumed.err
    assert losses(first) == losses(whole)
    for part in ("val", "test"):
        assert first.results[part] == whole.results[part]  # type: ignore[union-attr]
    ours, theirs = weights(first), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("network", ALL)
def test_a_step_in_parts_is_the_step_as_a_whole(network: str, words: list[str], cli: Callable[..., Any]) -> None:
    """4 rows at once, 2 and 2, or one by one: each row goes on with its own lane's state. And no score depends on how many
    texts are scored at once or on the length of rows."""
    words = [*words, *NETWORKS[network], "trainer.precision=64"]
    whole, *parts = [
        cli("train", *words, f"task.batch_size={size}", f"trainer.accumulate_grad_batches={4 // size}")
        for size in (4, 2, 1)
    ]
    for part in parts:
        assert part.code == 0, part.err
        assert losses(part) == pytest.approx(losses(whole), rel=1e-9)
        assert part.results["test"]["bits_per_byte"] == pytest.approx(whole.results["test"]["bits_per_byte"], rel=1e-9)
    done = cli("eval", f"run={whole.folder}", "task.seq_len=50", "++task.eval_batch_size=2", "to=figures.json")
    assert done.code == 0, done.err
    again = json.loads(Path("figures.json").read_text(encoding="utf-8"))["test"]["bits_per_byte"]
    assert again == pytest.approx(whole.results["test"]["bits_per_byte"], rel=1e-9)


@pytest.mark.slow
def test_validations_in_between_change_nothing(words: list[str], cli: Callable[..., Any]) -> None:
    """And without the states that go on training is another."""
    words = [*words, *NETWORKS["lstm"], "++callbacks.samples=0"]
    often, seldom, apart = (
        cli("train", *words, f"trainer.val_every_n_steps={every}", f"++task.carry={carry}")
        for every, carry in ((2, "true"), (100, "true"), (100, "false"))
    )
    assert losses(often) == losses(seldom)
    assert losses(often)[2:] != losses(apart)[2:]
