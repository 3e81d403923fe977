"""Whole runs of several tasks with one network: as they are typed, evaluated, asked, stopped and gone on with, started from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads

NAMES = ["topics", "text"]


def rows(folder: Path) -> None:
    folder.mkdir()
    for split, numbers in {"train": range(22), "validation": range(22, 27), "test": range(27, 33)}.items():
        found = [
            {"text": f"{'good' if i % 3 else 'bad'} day {i} {'x' * (i % 5)}", "label": "yn"[i % 3 > 0]} for i in numbers
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


@pytest.fixture
def words(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Classification of rows of its own, and masking on the run's data: each step of one of them, masking's twice as often."""
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "news")
    rest = [word for word in tiny if not word.startswith("task.")]
    return [*rest, "task=mixture", "+task@task.members.topics=classification", "+task@task.members.text=masked",
            "+data@task.members.topics.data=json", f"task.members.topics.data.path={tmp_path}/news",
            "task.members.topics.batch_size=4", "task.members.text.batch_size=4", "task.members.text.seq_len=32",
            "task.members.text.pseudo_perplexity_texts=2"]  # fmt: skip


WEIGHTS = "task.weights={topics:1,text:2}"


def test_each_member_is_scored_by_its_name_and_can_be_asked(
    words: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = cli("train", *words, WEIGHTS, "callbacks.monitor=val/accuracy/topics")
    assert done.code == 0, done.err
    results, folder = done.results, done.folder
    for split in ("val", "test"):
        scores = results[split]
        assert {name.partition("/")[2] for name in scores} == {"", *NAMES}
        assert {
            "loss",
            "loss/topics",
            "loss/text",
            "accuracy/topics",
            "accuracy/text",
            "pseudo_perplexity/text",
        } <= set(scores)
        assert scores["loss"] == pytest.approx((scores["loss/topics"] + 2 * scores["loss/text"]) / 3)
        assert set(results["directions"]) >= set(scores)
    assert (results["directions"]["loss/topics"], results["directions"]["accuracy/topics"]) == ("lower", "higher")
    assert set(results["baselines"]["majority"]) == {n for n in results["test"] if n.endswith("/topics")} - {
        "loss/topics"
    }
    assert results["run"]["data"] == "json"
    assert any(note.startswith("training went through topics 0.") for note in results["run"]["notes"])
    assert all(any(f"train/loss/{name}" in row for row in done.metrics) for name in NAMES)

    lines = [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines if line["member"] == "topics"] == list(range(6))
    assert sum(line["loss"] for line in lines if line["member"] == "text") > 0
    assert (folder / "predictions" / "confusion-topics.html").is_file()
    export = json.loads((folder / "export" / "config.json").read_text())
    assert export["head"] == "Members"

    out = tmp_path / "figures.json"
    done = cli("eval", f"run={folder}", f"to={out}", "task.members.topics.eval_batch_size=3")
    assert done.code == 0, done.err
    assert json.loads(out.read_text())["test"] == pytest.approx(results["test"], rel=1e-5)

    lm = manyheads.load(folder, member="topics", device="cpu")
    answers = lm.predict([{"text": line["input"]} for line in lines if line["member"] == "topics"])
    assert [one["output"] for one in answers] == [line["output"] for line in lines if line["member"] == "topics"]
    assert cli("predict", f"run={folder}", "input.text=good").err == (
        "error: predict: this run has several tasks. Set member=topics or member=text.\n"
    )
    assert json.loads(cli("predict", f"run={folder}", "member=topics", "input.text=good").out)["output"] in "yn"


@pytest.mark.slow
@pytest.mark.parametrize(("together", "workers"), [(1, 0), (3, 1)])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    together: int, workers: int, words: list[str], cli: Callable[..., Any]
) -> None:
    """Guards: a member that begins anew, or turns that are others, after a resume; over an epoch's end of each too."""
    more = [WEIGHTS, "++trainer.limit_val_batches=1", "trainer.val_every_n_steps=20", "++optim.schedule=constant",
            "model.dropout=0.1", "callbacks.averaging=ema", f"trainer.accumulate_grad_batches={together}",
            "task.members.text.pseudo_perplexity_texts=0", "task.members.text.batch_size=20",
            f"++task.members.text.num_workers={workers}"]  # fmt: skip
    whole = cli("train", *words, *more, "trainer.max_steps=60")
    assert whole.code == 0, whole.err
    part = cli("train", *words, *more, "trainer.max_steps=4")
    for steps in (19, 60):
        done = cli("train", f"resume={part.folder}", f"trainer.max_steps={steps}")
        assert done.code == 0, done.err
    found = [torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, part)]
    assert found[0]["epoch"] >= 1
    assert found[0]["Mixture"] == found[1]["Mixture"]
    for name, value in found[0]["state_dict"].items():
        assert torch.equal(value, found[1]["state_dict"][name]), name
    assert whole.results["test"] == part.results["test"]


@pytest.mark.slow
def test_a_yaml_of_ones_own_is_the_same_run(words: list[str], tmp_path: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "my" / "task").mkdir(parents=True)
    (tmp_path / "my" / "task" / "my_mixture.yaml").write_text(
        "defaults: [mixture, classification@members.topics, masked@members.text, /data@members.topics.data: json, _self_]\n"
        "weights: {topics: 1, text: 2}\n"
    )
    typed = cli("train", *words, WEIGHTS)
    rest = [word for word in words if "@" not in word and word != "task=mixture"]
    named = cli("train", "--config-dir", "my", *rest, "task=my_mixture")
    assert named.code == 0, named.err
    assert named.results["test"] == typed.results["test"]


@pytest.mark.slow
def test_runs_start_from_one_another(words: list[str], cli: Callable[..., Any], tmp_path: Path) -> None:
    """A single task takes the network of a mixture, a mixture that of a task, and members the heads of their names."""
    mixed = cli("train", *words, WEIGHTS)
    saved = torch.load(mixed.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    single = [word for word in words if not word.startswith(("task", "+"))]
    alone = cli("train", *single, "task=classification", "task.batch_size=4", f"data.path={tmp_path}/news",
                f"init={mixed.folder}", "trainer.max_steps=1", "optim=adamw", "optim.lr=0")  # fmt: skip
    assert alone.code == 0, alone.err
    assert "the head, Label, starts anew: that run's was Label and MaskedToken" in alone.out.replace("\n", " ")
    weights = torch.load(alone.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in weights.items() if name.startswith("network."))
    again = cli("train", *words, f"init={mixed.folder}", "optim=adamw", "optim.lr=0")
    assert again.code == 0, again.err
    weights = torch.load(again.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[name], saved[name]) for name in saved)
    other = cli("train", *words, f"init={alone.folder}", "trainer.max_steps=1")
    assert other.code == 0, other.err
    for name, head in {"topics": "Label", "text": "MaskedToken"}.items():
        said = f"the head of {name}, {head}, starts anew: that run's was Label"
        assert any(said in note for note in other.results["run"]["notes"])


@pytest.mark.slow
def test_a_resume_keeps_the_members(words: list[str], cli: Callable[..., Any]) -> None:
    run = cli("train", *words, WEIGHTS, "trainer.max_steps=3").folder
    for word, text in (
        (
            "task.members.topics.head.pool=first",
            "task.members.topics.head.pool=first: a resumed run keeps its network, head",
        ),
        ("~task.members.topics", "task.members has text alone: a mixture needs two tasks"),
        ("+task@task.members.more=masked", "task.members.more"),
    ):
        done = cli("train", f"resume={run}", "trainer.max_steps=6", word)
        assert done.code == 1
        assert text in done.err, done.err


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_two_ranks_give_the_losses_of_one(trainer: str, words: list[str], cli: Callable[..., Any]) -> None:
    """Guards: ranks whose steps are of different members, and DDP that waits for the gradients of a head without a turn."""
    more = [WEIGHTS, "trainer.log_every_n_steps=1", "trainer.max_steps=20", "trainer.val_every_n_steps=10"]
    found = []
    for devices, size in ((1, 4), (2, 2)):
        sizes = [f"task.members.{name}.batch_size={size}" for name in NAMES]
        kind = [f"trainer={trainer}" if devices > 1 else "trainer=cpu", f"trainer.devices={devices}"]
        done = cli("train", *words, *kind, *more, *sizes)
        assert done.code == 0, done.err
        found.append(done)
    losses = [[row["train/loss"] for row in one.metrics if "train/loss" in row] for one in found]
    assert len(losses[0]) == 20
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert found[1].results["test"] == pytest.approx(found[0].results["test"], rel=1e-4)
