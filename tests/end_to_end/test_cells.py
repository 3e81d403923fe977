"""Each task with each head and each kind of network that goes with it: trains, goes on, evaluates and answers new rows.

Guards: a pair that the table of families calls possible and that fails on the way, and one that the table forgets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyheads.families import families

from .in_turn import on_two_ranks

NETWORKS = {
    "tiny": ["model.dim=16", "model.num_layers=1", "model.num_heads=2"],
    "lstm": ["model.dim=16", "model.num_layers=1"],
    "gru": ["model.dim=16", "model.num_layers=1"],
    "rnn": ["model.dim=16", "model.num_layers=1"],
    "feedforward": ["model.dim=16", "model.hidden=16", "model.num_layers=1"],
    "linear_attention": ["model.dim=16", "model.num_layers=1", "model.num_heads=2"],
    "bag_of_embeddings": ["model.dim=16", "model.buckets=50"],
    "encoder": ["model.dim=16", "model.num_layers=1", "model.num_heads=2"],
    "encoder_decoder": ["model.dim=16", "model.num_layers=1", "model.num_encoder_layers=1", "model.num_heads=2"],
    "textcnn": ["model.dim=16", "model.filters=8"],
    "seq2seq_lstm": ["model.dim=16", "model.hidden=16"],
    "ngram": ["model.order=3"],
    "word2vec": ["model.dim=16", "task.subsample=0"],
    "glove": ["model.dim=16"],
}
"""One of each family of networks; the other choices are of the same classes."""

COUNTS = {"ngram"}
"""Which an optimizer has nothing to do with."""

MASK = "<|mask|>"

SHORT = ["task.max_target_tokens=8", "task.num_beams=1"]
SETTINGS = {
    "generation": ["task.seq_len=32"],
    "masked": ["task.seq_len=32", "task.pseudo_perplexity_texts=1"],
    "denoising": ["task.seq_len=32"],
    "translation": SHORT,
    "summarization": SHORT,
}

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo"]
PLACES = ["Rome", "Oslo", "Lima", "Bonn", "Kyiv", "Cork", "Pune", "Nice"]


def row(number: int) -> dict[str, Any]:
    """What every task can be learned from; each reads its own columns."""
    name, place = NAMES[number % 8], PLACES[(number * 3) % 8]
    context = f"{name} lives in {place}. It rains there."
    return {
        "text": context,
        "label": "even" if number % 2 else "odd",
        "source": f"{name} {place}",
        "target": f"{place} {name}",
        "document": context,
        "summary": f"{name} in {place}",
        "context": context,
        "question": f"Where does {name} live?",
        "answers": {"text": [place], "answer_start": [context.index(place)]},
        "messages": [
            {"role": "user", "content": f"Where does {name} live?"},
            {"role": "assistant", "content": f"In {place}."},
        ],
    }


CELLS = sorted(
    (one.task, one.head, one.model)
    for one in families().members
    if one.works and one.model in NETWORKS and one.task != "mixture"  # of others: test_several_tasks.py
)
QUICK = {("classification", "label", "encoder")}
ALONE = {(task, head, model) for task, (head, model) in families().alone.items() if task != "mixture"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for split, numbers in {"train": range(12), "validation": range(12, 15), "test": range(15, 19)}.items():
        lines = [json.dumps(row(number)) for number in numbers]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


OWN_DATA = {"recall": ["data=recall", "++data.rows=12", "++data.scored_rows=4"]}


def words(task: str, head: str, model: str, rows: Path) -> list[str]:
    return [
        f"task={task}", f"head={head}", f"model={model}", *NETWORKS[model], *SETTINGS.get(task, []),
        *OWN_DATA.get(task, ["data=json", f"data.path={rows}"]), "tokenizer=byte", "task.batch_size=4", "trainer.max_steps=2",
        "trainer.val_every_n_steps=1", "trainer.log_every_n_steps=1", "logger=csv", "++callbacks.sample_tokens=4",
        *([] if model in COUNTS else ["optim=adamw", "++optim.warmup_steps=0"]),
        # with small steps the words for classes are equal but for their last bits in all rows, which say how rows rank
        *(["optim.lr=0.1"] if (task, head) == ("classification", "next_token") and model not in COUNTS else []),
    ]  # fmt: skip


def test_there_are_as_many_cells_as_are_known() -> None:
    """A cell that comes or goes is a decision."""
    assert len(CELLS) == 98
    assert set(CELLS) >= ALONE


def test_every_no_has_its_reason() -> None:
    assert [one for one in families().members if one.works == bool(one.reason)] == []


@pytest.mark.parametrize(
    ("task", "head", "model"),
    [pytest.param(*cell, marks=[] if cell in QUICK else pytest.mark.slow) for cell in CELLS],
)
def test_a_cell_works(task: str, head: str, model: str, rows: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("train", *words(task, head, model, rows))
    assert done.code == 0, done.err
    folder = done.folder
    scores = done.results["test"]
    assert scores
    check_answered(folder)

    # evaluated anew, in batches of another size
    out = tmp_path / "figures.json"
    done = cli("eval", f"run={folder}", "task.batch_size=3", f"to={out}")
    assert done.code == 0, done.err
    found = json.loads(out.read_text(encoding="utf-8"))["test"]
    assert numbers(found) == pytest.approx(numbers(scores), rel=1e-5, nan_ok=True)

    # goes on, but for what has counted all that there is (mid-way: test_counting.py)
    done = cli("train", f"resume={folder}", "trainer.max_steps=3")
    assert done.code == (model in COUNTS), done.err
    assert model not in COUNTS or "it has counted all of its text" in done.err
    assert model in COUNTS or json.loads((folder / "results.json").read_text())["run"]["steps"] == 3

    # new rows
    if task in OWN_DATA:
        return
    answers = tmp_path / "answers.jsonl"
    asked = tmp_path / "asked.jsonl"
    asked.write_text(
        (rows / "test.jsonl").read_text(encoding="utf-8").replace(" lives ", f" {MASK} "), encoding="utf-8"
    )
    done = cli("predict", f"run={folder}", f"input={asked}", f"to={answers}")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("model", NETWORKS)
def test_two_ranks_give_the_scores_of_one(model: str, rows: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    """All cells of a family of networks, on the same two processes, whose steps are those of one."""
    cells = [cell for cell in CELLS if cell[-1] == model]
    given = {"-".join(cell): words(*cell, rows) for cell in cells}
    shared = ["trainer=ddp", "trainer.devices=2", "task.batch_size=2"]
    on_two_ranks({tmp_path / name: ["train", *more, *shared] for name, more in given.items()})
    for name, more in given.items():
        (folder,) = (tmp_path / name).glob("outputs/runs/*")
        check_answered(folder)
        two = json.loads((folder / "results.json").read_text(encoding="utf-8"))["test"]
        two, one = numbers(two), scored(cli, more, "cpu", 1)
        assert two == pytest.approx(one, rel=1e-4, nan_ok=True), name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ranks_with_parts_of_a_network_write_texts_of_other_lengths(rows: Path, cli: Callable[..., Any]) -> None:
    """Each decodes its own rows for as long as they take: one that waited for the others would wait for ever."""
    given = words("translation", "next_token", "encoder_decoder", rows)
    assert scored(cli, given, "fsdp", 2) == pytest.approx(scored(cli, given, "cpu", 1), rel=1e-4, nan_ok=True)


def scored(cli: Callable[..., Any], given: list[str], trainer: str, devices: int) -> dict[str, float]:
    """The test scores of a run on so many devices, whose steps are those of one."""
    done = cli("train", *given, f"trainer={trainer}", f"trainer.devices={devices}", f"task.batch_size={4 // devices}")
    assert done.code == 0, done.err
    check_answered(done.folder)
    return numbers(done.results["test"])


def numbers(scores: dict[str, float | None]) -> dict[str, float]:
    """The scores of a file, in which null stands for one that there is not: of outputs without a word, for one."""
    return {name: math.nan if value is None else value for name, value in scores.items()}


def check_answered(folder: Path) -> None:
    """Each row of test has its line, in order; of counts each word."""
    lines = (folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    numbers = [json.loads(line)["id"] for line in lines]
    assert numbers == [0, 1, 2, 3] or (folder.name.endswith("-glove") and numbers == sorted({*numbers}))
