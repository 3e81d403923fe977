"""WordScores: what is tested, what is left out, and what is told of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.negative_sampling import NegativeSampling
from manyheads.model.word2vec import Word2Vec
from manyheads.task.word_scores import WordScores, frequent
from manyheads.testing import Rows
from manyheads.tokenizer.word import word
from manyheads.tokenizer.words import Words

TEXT = "man man man man woman woman woman king king queen . . . . . ."
TOKENIZER = word(source=Rows({"train": [TEXT], "validation": ["v"], "test": ["t"]}), min_count=1)
VECTORS = {"man": [1.0, 0, 0], "woman": [0, 1, 0], "king": [1, 0, 1], "queen": [0, 1, 1], ".": [-1, -1, 0]}


def counts() -> np.ndarray:
    return np.bincount(TOKENIZER.encode(TEXT), minlength=TOKENIZER.vocab_size)


def make(**settings: Any) -> WordScores:
    given = {"neighbours": 2, "words": None, "analogies": None, "similarities": None} | settings
    return WordScores(TOKENIZER, counts, **given)


def read(scorer: WordScores) -> dict[str, float]:
    """The scores of the vectors above."""
    network, head = (
        Word2Vec(vocab_size=TOKENIZER.vocab_size, dim=3),
        NegativeSampling(dim=3, vocab_size=TOKENIZER.vocab_size),
    )
    with torch.no_grad():
        for name, vector in VECTORS.items():
            network.embedding.weight[TOKENIZER.encode(name)[0]] = torch.tensor(vector)
    for _ in range(2):
        scorer.read(network, head, Batch(), torch.empty(0))
    return scorer.scores("test", {})


def test_analogies_are_solved_and_counted(tmp_path: Path) -> None:
    """By hand: two right of three, one of them under a heading, and one left out."""
    (tmp_path / "a").write_text(
        "man woman king queen\n: more\nking queen man woman\nman king woman .\nman woman uncle aunt\n"
    )
    scorer = make(analogies=str(tmp_path / "a"))
    assert read(scorer) == {"analogies": pytest.approx(2 / 3)}
    assert (
        scorer.signatures["test"]["analogies"] == "3CosAdd, 2 of 3 right (more 1 of 2), 1 left out: a word is unknown"
    )


def test_similarities_are_ranked_and_counted(tmp_path: Path) -> None:
    """Cosines by hand: man-king 0.71, man-woman 0, king-queen 0.5, man-. -0.71; people rank the second and third the other way."""
    (tmp_path / "s").write_text("man,king,9\nman,woman,5\nking,queen,4\nman,.,1\nman,uncle,8\n")
    scorer = make(similarities=str(tmp_path / "s"))
    assert read(scorer) == {"similarity": pytest.approx(0.8)}
    assert scorer.signatures["test"]["similarity"] == "Spearman, 4 pairs, 1 left out: a word is unknown"


def test_nothing_is_known_or_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a b c d\n")
    (tmp_path / "s").write_text("a b 1\n")
    scorer = make(analogies=str(tmp_path / "a"), similarities=str(tmp_path / "s"))
    assert all(math.isnan(score) for score in read(scorer).values())
    assert read(make()) == {}
    assert make().scores("test", {}) == {}
    assert make().told() == []


def test_neighbours_are_told() -> None:
    scorer = make(words=["queen"])
    read(scorer)
    (found,) = scorer.told()
    assert found.word == "queen"
    assert [name for name, _ in found.nearest] == ["woman", "king"]
    assert [cosine for _, cosine in found.nearest] == pytest.approx([math.sqrt(0.5), 0.5])
    scorer = make()
    read(scorer)
    assert [one.word for one in scorer.told()] == ["man", "woman", "king", "queen"]  # a full stop has no letter


def test_a_text_of_several_words_is_their_mean_and_names_none_of_them() -> None:
    scorer = make(neighbours=9)
    read(scorer)
    assert scorer.vectors is not None
    (both, one) = scorer.of(scorer.vectors, [scorer.words.ids_of("man woman"), scorer.words.ids_of("king")])
    assert both.word == "man woman"
    assert sorted(name for name, _ in both.nearest[:2]) == ["king", "queen"]
    assert len(both.nearest) == 3
    assert len(one.nearest) == 4
    assert scorer.of(scorer.vectors, []) == []


def test_frequent_words_are_evenly_spread() -> None:
    texts = {
        "train": [" ".join(f"w{n}" for n in range(3000) for _ in range(3 - n // 1000))],
        "validation": ["v"],
        "test": ["t"],
    }
    words = Words(word(source=Rows(texts), min_count=1))
    found = frequent(np.arange(words.tokenizer.vocab_size)[::-1], words)
    assert [int(token) for token in np.diff(found)] == [100] * 9
    assert found[0] == words.known[99]


def test_files_and_words_are_read_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.analogies=nowhere cannot be read"):
        make(analogies="nowhere").check()
    with pytest.raises(UserError, match=r"task\.words: 'uncle' is no word of the vocabulary"):
        make(words=["man", "uncle"]).check()
    make().check()


def test_it_is_tested_while_training_where_that_is_monitored(tmp_path: Path) -> None:
    scorer = make(analogies="a")
    scorer.watch("val/loss")
    assert not scorer.while_training
    scorer.watch("val/analogies")
    assert scorer.while_training
