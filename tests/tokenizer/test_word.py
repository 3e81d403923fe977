"""Guards: words that are not the commonest, an order that changes, losses that hide themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.data.store import tokenize
from manyheads.errors import UserError
from manyheads.testing import Rows
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.word import word

TRAIN = ["the cat, the dog", "the cat ran", "The dog; the cow"]


def source(train: list[str] = TRAIN) -> Rows:
    return Rows({"train": train, "validation": ["v"], "test": ["t"]})


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """The tokens by their ids."""
    vocab = tokenizer.backend.get_vocab()
    return sorted(vocab, key=lambda token: vocab[token])


def test_words_by_how_often_they_are_there() -> None:
    """By hand: the 4, cat 2, dog 2, and once each , ; The ran cow; equals in the order of their characters."""
    known = vocabulary(word(source=source(), min_count=1))
    assert known == ["[UNK]", "the", "cat", "dog", ",", ";", "The", "cow", "ran", "<|endoftext|>"]
    assert vocabulary(word(source=source(), min_count=2)) == ["[UNK]", "the", "cat", "dog", "<|endoftext|>"]
    assert vocabulary(word(source=source(), min_count=1, vocab_size=4)) == ["[UNK]", "the", "cat", "<|endoftext|>"]


def test_lower_case_and_spaces_alone() -> None:
    assert vocabulary(word(source=source(), min_count=5, lower_case=True)) == ["[UNK]", "the", "<|endoftext|>"]
    assert "cat," in vocabulary(word(source=source(), min_count=1, split="spaces"))


def test_unknown_words_and_what_comes_back() -> None:
    tokenizer = word(source=source(), min_count=2)
    assert tokenizer.encode("the cat  sat") == [1, 2, 0]
    assert (tokenizer.unknown_id, tokenizer.end_id, tokenizer.vocab_size, tokenizer.lossless) == (0, 4, 5, False)
    assert tokenizer.decode([1, 2, 0]) == "the cat [UNK]"
    rows = Rows({"train": TRAIN, "validation": ["the  cat sat", "the dog"], "test": ["t"]})
    lost = tokenize(rows, "validation", tokenizer).round_trip
    assert (lost.texts, lost.changed, lost.unknown) == (2, 1, 1)
    assert Tokenizer.from_json(tokenizer.to_json()).fingerprint == tokenizer.fingerprint


def test_training_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(str(i * j % 97) for j in range(50)) for i in range(60)]
    prints = set()
    for run in range(3):
        monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / str(run)))
        prints.add(word(source=source(texts), vocab_size=50).fingerprint)
    assert len(prints) == 1


def test_no_word_is_common_enough() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.min_count=9: no word of the training split is there so often"):
        word(source=source(), min_count=9)
