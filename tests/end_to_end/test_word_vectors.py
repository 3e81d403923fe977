"""Word vectors through the front door: trained, gone on with, scored anew, asked, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FORMS_OF_IT = {
    "skip-gram": ["model=word2vec", "task.seq_len=32", "task.subsample=0.05"],
    "cbow": ["model=word2vec", "model.objective=cbow", "task.seq_len=32", "task.subsample=0.05"],
    "glove": ["model=glove", "head=cooccurrence", "head.x_max=10", "task.pairs=64"],
}


@pytest.fixture
def words(corpus: Path) -> list[str]:
    return [
        "task=word_vectors", "data=json", f"data.path={corpus}", "model.dim=8", "task.batch_size=4", "trainer.max_steps=6",
        "trainer.val_every_n_steps=3", "trainer.log_every_n_steps=1", "logger=csv", "optim=adam", "optim.lr=0.05",
        "++optim.warmup_steps=0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.slow] * (form != "skip-gram")) for form in FORMS_OF_IT]
)
def test_a_run_from_its_start_to_its_answers(
    form: str, words: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "analogies").write_text(": some\nthe of and to\nthe of and zebra\n")
    (tmp_path / "pairs").write_text("the,of,3\nand,to,2\nis,was,5\nzebra,of,1\n")
    tests = [
        f"task.analogies={tmp_path / 'analogies'}",
        f"task.similarities={tmp_path / 'pairs'}",
        "task.words=[the,of]",
    ]
    done = cli("train", *words, *FORMS_OF_IT[form], *tests)
    assert done.code == 0, done.err
    assert "nearest to the: " in done.out
    assert "1 left out: a word is unknown" in done.out
    test, folder = done.results["test"], done.folder
    assert {"loss", "analogies", "similarity"} <= set(test)
    losses = [row["train/loss"] for row in done.metrics if "train/loss" in row]
    assert losses[-1] < losses[0]
    assert "<td>the<td>" in (folder / "predictions" / "neighbours.html").read_text(encoding="utf-8")

    out = tmp_path / "figures.json"
    done = cli("eval", f"run={folder}", "task.eval_batch_size=7", f"to={out}")
    assert done.code == 0, done.err
    assert json.loads(out.read_text())["test"] == pytest.approx(test, rel=1e-6)

    done = cli("predict", f"run={folder}", "input.text=the", "task.neighbours=3")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["neighbours"]) == 3

    done = cli("generate", f"run={folder}", "the")
    assert done.code == 1
    assert "the head of this run, writes no text" in done.err

    done = cli("train", f"resume={folder}", "trainer.max_steps=8")
    assert done.code == 0, done.err


def test_a_network_of_words_is_refused_by_other_tasks_at_once(cli: Callable[..., Any]) -> None:
    done = cli("train", "model=word2vec", "task=generation", "data=text", "data.path=nowhere")
    assert done.code == 1
    assert (
        "model=word2vec is skip-gram, and head=next_token needs causal or counting or encoder-decoder: it has a vector for each word, and "
        "nothing that reads a text. Set model="
    ) in done.err
    assert "model=tiny" in done.err
    assert "task=word_vectors head=negative_sampling" in done.err
    done = cli("train", "task=word_vectors", "model=glove", "data=text", "data.path=nowhere")
    assert done.code == 1
    assert (
        "model=glove is co-occurrence, and head=negative_sampling needs cbow or skip-gram: it learns from counts, which "
        "head=cooccurrence reads. Set head=cooccurrence, or model=word2vec"
    ) in done.err


def test_another_network_starts_from_the_vectors_and_does_not_need_them_again(
    words: list[str], cli: Callable[..., Any]
) -> None:
    """Evaluated and gone on with when the folder of the vectors is gone."""
    first = cli("train", *words, *FORMS_OF_IT["skip-gram"]).folder
    other = [word for word in words if not word.startswith("task=")]
    start = ["task=generation", "model=bag_of_embeddings", "tokenizer=word", "head=next_token", "task.seq_len=32"]
    done = cli("train", *other, *start, f"embedding_from={first}")
    assert done.code == 0, done.err
    assert "tokens start with the vectors of " in " ".join(done.out.split())
    assert any("tokens start with" in note for note in done.results["run"]["notes"])
    shutil.rmtree(first)
    assert cli("eval", f"run={done.folder}").code == 0
    again = cli("train", f"resume={done.folder}", "trainer.max_steps=8")
    assert again.code == 0, again.err
    both = cli("train", *other, *start, f"embedding_from={done.folder}", f"init={done.folder}")
    assert both.code == 1
    assert "brings an embedding along" in both.err


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS_OF_IT)
def test_micro_batches_make_the_step_of_one_batch(form: str, words: list[str], cli: Callable[..., Any]) -> None:
    """The same rows in batches of four, and in four batches of one."""
    exact = ["trainer.precision=64-true", "optim=sgd", "optim.lr=0.5"]
    one = cli("train", *words, *FORMS_OF_IT[form], *exact)
    four = cli("train", *words, *FORMS_OF_IT[form], *exact, "task.batch_size=1", "trainer.accumulate_grad_batches=4")
    assert (one.code, four.code) == (0, 0), one.err + four.err
    assert four.results["val"] == pytest.approx(one.results["val"], rel=1e-9)
    assert [row["train/loss"] for row in four.metrics if "train/loss" in row] == pytest.approx(
        [row["train/loss"] for row in one.metrics if "train/loss" in row], rel=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS_OF_IT)
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    form: str, words: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    whole = cli("train", *words, *FORMS_OF_IT[form], "trainer.max_steps=8", "optim.schedule=constant")
    half = cli("train", *words, *FORMS_OF_IT[form], "trainer.max_steps=4", "optim.schedule=constant")
    done = cli("train", f"resume={half.folder}", "trainer.max_steps=8")
    assert done.code == 0, done.err
    found = json.loads((half.folder / "results.json").read_text())
    assert found["val"] == whole.results["val"]
    assert found["test"] == whole.results["test"]
