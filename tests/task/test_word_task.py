"""WordTask: what is told of vectors when they are learned, and what a trained run answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.data.files import files
from manyheads.data.uncut import Uncut
from manyheads.errors import UserError
from manyheads.head.negative_sampling import NegativeSampling
from manyheads.model.word2vec import Word2Vec
from manyheads.task.base import Scored
from manyheads.task.word_windows import WordWindows
from manyheads.testing import Rows
from manyheads.tokenizer.word import word

TEXTS = ["the cat and the <b> dog", "the cat or the dog"]
SPLITS = {"train": TEXTS, "validation": ["the cat"], "test": ["cat", "the dog", "zebra", ""]}
SOURCE = Rows(SPLITS)
TOKENIZER = word(source=SOURCE, min_count=1, split="spaces")


def make(source: Any = SOURCE, **settings: Any) -> WordWindows:
    return WordWindows(source=source, tokenizer=TOKENIZER, seed=1, kind="skip-gram", seq_len=8, **settings)


def parts() -> tuple[Word2Vec, NegativeSampling]:
    torch.manual_seed(0)
    return Word2Vec(vocab_size=TOKENIZER.vocab_size, dim=4), NegativeSampling(dim=4, vocab_size=TOKENIZER.vocab_size)


def test_texts_are_answered_with_their_neighbours() -> None:
    lines = list(make(neighbours=2).answers(*parts()))
    assert [(line["id"], line["input"]) for line in lines] == [(0, "cat"), (1, "the dog"), (2, "zebra"), (3, "")]
    assert [len(line["neighbours"]) for line in lines] == [2, 2, 0, 0]
    first = lines[0]["neighbours"]
    assert lines[0]["output"] == first[0]["word"] != "cat"
    assert first[0]["similarity"] > first[1]["similarity"]
    assert not {near["word"] for near in lines[1]["neighbours"]} & {"the", "dog"}
    assert lines[2]["output"] == ""


def test_the_page_and_the_screen_have_the_neighbours(tmp_path: Path) -> None:
    task = make(words=["<b>", "cat"], neighbours=3)
    assert task.pages(Scored({}, {}, {})) == {}
    assert task.closing_notes == []
    task.scorer.read(*parts(), Batch(), torch.empty(0))
    assert task.scorer.scores("test", {}) == {}
    (name, write), = task.pages(Scored({}, {}, {})).items()  # fmt: skip
    assert name == "neighbours"
    write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<td>&lt;b&gt;<td>" in page
    assert page.count("<small>") == 6
    assert [note.partition(": ")[0] for note in task.closing_notes] == ["nearest to <b>", "nearest to cat"]


def test_scores_and_how_they_were_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("the cat the dog\nthe cat the cow\n")
    task = make(analogies=str(tmp_path / "a"))
    task.prepare()
    assert [metric.name for metric in task.output_metrics] == ["analogies"]
    task.scorer.read(*parts(), Batch(), torch.empty(0))
    assert set(task.scorer.scores("validation", {})) == {"analogies"}
    assert task.signatures["validation"]["analogies"].endswith("1 left out: a word is unknown")
    assert task.baselines("test") == {}


def test_data_to_score_alone_weighs_by_its_own_words() -> None:
    task = make(Uncut(Rows({"test": ["cat dog dog"]})))
    assert task.counts.sum() == 3
    assert task.notes[-1] == "words are weighed by their counts in test, since there is no train split"
    assert not any("weighed" in note for note in make().notes)


def test_texts_without_a_known_word() -> None:
    with pytest.raises(
        UserError, match=r"data \(rows\): train has no known word\. Set data with words, or another tok"
    ):
        _ = make(Rows({**SPLITS, "train": ["zebra"]})).counts


def test_a_stream_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("some\ntext\n")
    source = files(format="text", path=str(tmp_path / "t.txt"), streaming=True, join_rows=False)
    with pytest.raises(UserError, match=r"data\.streaming=true: word vectors are learned from counts of all words"):
        make(source)
