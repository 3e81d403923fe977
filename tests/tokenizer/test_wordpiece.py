"""Guards: another algorithm than WordPiece, a vocabulary of another size than asked, losses that hide themselves."""

from pathlib import Path

import pytest

from manyheads.data.store import tokenize
from manyheads.errors import UserError
from manyheads.testing import Rows
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.wordpiece import wordpiece

WORDS = ["lower", "lowest", "newer", "newest", "low", "new", "wide", "widest"]
TRAIN = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(8)]


def source(train: list[str] = TRAIN) -> Rows:
    return Rows({"train": train, "validation": ["v"], "test": ["t"]})


def longest_match(word: str, vocab: dict[str, int]) -> list[str]:
    """Devlin et al.'s reading of a word, written anew."""
    pieces, start = [], 0
    while start < len(word):
        found = [("##" if start else "") + word[start:end] for end in range(len(word), start, -1)]
        piece = next((piece for piece in found if piece in vocab), None)
        if piece is None:
            return ["[UNK]"]
        pieces.append(piece)
        start += len(piece) - (2 if start else 0)
    return pieces


def test_words_are_spelt_by_the_longest_pieces_from_the_left() -> None:
    tokenizer = wordpiece(source=source(), vocab_size=34)
    vocab = tokenizer.backend.get_vocab()
    for word in [*WORDS, "lowerest", "newwide", "wow", "xenon", "low7"]:
        pieces = [tokenizer.backend.id_to_token(token) for token in tokenizer.encode(word)]
        assert pieces == longest_match(word, vocab)
    assert tokenizer.encode("lowxx [UNK]") == [
        0,
        *tokenizer.encode("["),
        *tokenizer.encode("UNK"),
        *tokenizer.encode("]"),
    ]


def test_size_end_unknown_and_what_comes_back() -> None:
    tokenizer = wordpiece(source=source(), vocab_size=34)
    assert (tokenizer.vocab_size, tokenizer.end_id, tokenizer.unknown_id, tokenizer.lossless) == (34, 33, 0, False)
    assert tokenizer.decode(tokenizer.encode("lower  newest\nwide")) == "lower newest wide"
    assert tokenizer.decode(tokenizer.encode("low xenon")) == "low [UNK]"
    assert Tokenizer.from_json(tokenizer.to_json()).fingerprint == tokenizer.fingerprint


def test_bytes_are_those_of_the_raw_text() -> None:
    """By hand: "low  é\\n" has 8 bytes and becomes two tokens and an end; "\\t" has 1, and an end alone."""
    rows = Rows({"train": TRAIN, "validation": ["low  é\n", "\t"], "test": ["t"]})
    store = tokenize(rows, "validation", wordpiece(source=rows, vocab_size=34))
    assert (store.num_bytes, store.num_tokens) == (9, 4)
    assert store.bytes_until(store.document_starts).tolist() == [0, 8, 9]
    assert (store.round_trip.changed, store.round_trip.unknown) == (2, 1)


def test_training_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(str(i * j % 97) for j in range(50)) for i in range(60)]
    prints = set()
    for run in range(3):
        monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / str(run)))
        prints.add(wordpiece(source=source(texts), vocab_size=100).fingerprint)
    assert len(prints) == 1


def test_a_vocabulary_that_the_data_cannot_fill_or_overfills() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size=5000: the training split fills only (\d+)") as told:
        wordpiece(source=source(), vocab_size=5000)
    reached = int(str(told.value).split("fills only ")[1].split(".")[0])
    assert wordpiece(source=source(), vocab_size=reached).vocab_size == reached
    with pytest.raises(UserError, match=r"vocab_size=12: the characters .* fill \d+\. .*tokenizer\.limit_alphabet"):
        wordpiece(source=source(), vocab_size=12)
    assert wordpiece(source=source(), vocab_size=12, limit_alphabet=4).vocab_size == 12


@pytest.mark.parametrize("settings", [{"vocab_size": 2}, {"min_frequency": 0}, {"limit_alphabet": 0}])
def test_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=rf"tokenizer\.{next(iter(settings))}=.*at least"):
        wordpiece(source=source(), **settings)
