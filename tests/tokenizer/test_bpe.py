"""Guards: a vocabulary that saw validation or test, that depends on chance, or that is silently smaller than asked."""

from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.testing import Rows
from manyheads.tokenizer.bpe import bpe

TRAIN = ["aaab aaab aaab", "xyz"]


def test_the_first_merges_are_the_commonest_pairs() -> None:
    """Words: "aaab" once, " aaab" twice, "xyz" once. Pairs: aa 6, ab 3, " a" 2, so aa comes first."""
    tokenizer = bpe(source=Rows({"train": TRAIN, "validation": ["v"], "test": ["t"]}), vocab_size=258)
    assert tokenizer.encode("aa") == [256]
    assert tokenizer.end_id == 257
    assert len(tokenizer.encode("abxyz")) == 5
    assert [tokenizer.decode([token]) for token in tokenizer.encode("aaab")] == ["aa", "a", "b"]


def test_only_the_training_split_is_read() -> None:
    seen = []

    class Watched(Rows):  # type: ignore[misc]
        def texts(self, split: str):
            seen.append(split)
            return super().texts(split)

    bpe(source=Watched({"train": ["watched watched"], "validation": ["w"], "test": ["t"]}), vocab_size=259)
    assert seen == ["train"]


def test_training_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(str(i * j % 97) for j in range(50)) for i in range(60)]
    prints = set()
    for run in range(3):
        monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / str(run)))
        prints.add(bpe(source=Rows({"train": texts, "validation": ["v"], "test": ["t"]}), vocab_size=330).fingerprint)
    assert len(prints) == 1


def test_it_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Rows({"train": TRAIN, "validation": ["once"], "test": ["t"]})
    first = bpe(source=source, vocab_size=258)
    monkeypatch.setattr("manyheads.tokenizer.bpe._train", None)
    assert bpe(source=source, vocab_size=258).fingerprint == first.fingerprint


def test_min_frequency_and_size_are_part_of_what_is_cached() -> None:
    source = Rows({"train": [*TRAIN, "aaab"], "validation": ["v"], "test": ["t"]})
    assert bpe(source=source, vocab_size=258).vocab_size == 258
    assert bpe(source=source, vocab_size=259).vocab_size == 259
    with pytest.raises(UserError, match="fills only"):
        bpe(source=source, vocab_size=259, min_frequency=50)


def test_a_vocabulary_that_the_data_cannot_fill_names_what_it_can() -> None:
    source = Rows({"train": TRAIN, "validation": ["v"], "test": ["t"]})
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size=5000: the training split fills only (\d+)") as told:
        bpe(source=source, vocab_size=5000)
    reached = int(str(told.value).split("fills only ")[1].split(".")[0])
    assert bpe(source=source, vocab_size=reached).vocab_size == reached
    with pytest.raises(UserError, match="fills only"):
        bpe(source=source, vocab_size=reached + 1)


@pytest.mark.parametrize(
    ("settings", "message"), [({"vocab_size": 256}, "at least 257"), ({"min_frequency": 0}, "at least 1")]
)
def test_out_of_range(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bpe(source=Rows({"train": TRAIN}), **settings)
