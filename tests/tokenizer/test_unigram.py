"""Guards: a cut that is not the likeliest, a text that says "<unk>" taken for unknown, spaces and line breaks lost."""

import json
import math
import random
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.testing import Rows
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.unigram import unigram

WORDS = [a + b + c for a in ("low", "new", "wide", "the") for b in ("er", "est", "") for c in ("ing", "s", "")]
TRAIN = [f"{WORDS[i]}  {word} <unk>\n\n  of {WORDS[-i]}\n" for i, word in enumerate(WORDS)]


def source(train: list[str] = TRAIN) -> Rows:
    return Rows({"train": train, "validation": ["v"], "test": ["t"]})


def best_score(text: str, scores: dict[str, float]) -> float:
    """The likeliest cut by dynamic programming over all of them."""
    best = [0.0] + [-math.inf] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in scores:
                best[end] = max(best[end], best[start] + scores[text[start:end]])
    return best[-1]


def test_a_word_is_cut_into_the_likeliest_pieces() -> None:
    tokenizer = unigram(source=source(), vocab_size=45)
    pieces = json.loads(tokenizer.backend.to_str())["model"]["vocab"]
    scores = dict(pieces[1:])
    for word in ("lower", "thewidest", "newest", "<unk>", "lowlow"):
        found = [tokenizer.backend.id_to_token(token) for token in tokenizer.encode(word)]
        assert "".join(found) == word
        assert sum(scores[piece] for piece in found) == pytest.approx(best_score(word, scores))


def test_everything_comes_back_but_unknown_characters_and_the_sign_for_a_space() -> None:
    tokenizer = unigram(source=source(), vocab_size=45)
    assert (tokenizer.vocab_size, tokenizer.end_id, tokenizer.unknown_id, tokenizer.lossless) == (45, 44, 0, False)
    for text in ("  the <unk>\n\n\n low  ", "\n", "of", TRAIN[0]):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert 0 not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode("low ЖЖ the")) == "low <unk> the"
    assert tokenizer.encode("low ЖЖ the").count(0) == 1
    assert tokenizer.decode(tokenizer.encode("low▁the")) == "low the"
    assert Tokenizer.from_json(tokenizer.to_json()).fingerprint == tokenizer.fingerprint


def test_training_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: scores whose last digits, and ids whose order, come from the order in which the library adds. (Pieces of
    which two are exactly as good it picks by chance; words drawn with unlike frequencies leave no such pair.)"""
    draw = random.Random(0)
    made = ["".join(draw.choices("abcdefghij", range(1, 11), k=draw.randint(2, 9))) for _ in range(400)]
    texts = [" ".join(draw.choices(made, [1 / (i + 1) for i in range(400)], k=40)) for _ in range(300)]
    prints = set()
    for run in range(4):
        monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / str(run)))
        prints.add(unigram(source=source(texts), vocab_size=200).fingerprint)
    assert len(prints) == 1


def test_a_vocabulary_that_the_data_cannot_fill_or_overfills() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size=5000: the training split fills only \d+"):
        unigram(source=source(), vocab_size=5000)
    needed = len({*"".join(TRAIN), "▁"} - {" "}) + 2
    with pytest.raises(UserError, match=rf"vocab_size={needed - 1}: the characters .* fill {needed}\. "):
        unigram(source=source(), vocab_size=needed - 1)
    assert unigram(source=source(), vocab_size=needed + 1).vocab_size == needed + 1


@pytest.mark.parametrize("settings", [{"vocab_size": 2}, {"max_piece_length": 0}])
def test_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=rf"tokenizer\.{next(iter(settings))}=.*at least"):
        unigram(source=source(), **settings)
