"""Guards: half characters on the screen, tokenizers that change when saved, a text's "<|endoftext|>" taken for an end."""

import pickle
import random
from collections.abc import Callable

import pytest

from manyheads.testing import Rows
from manyheads.tokenizer.base import END, Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.byte import byte
from manyheads.tokenizer.character import character

SOURCE = Rows(
    {
        "train": [
            "the cat and the dog, the hat",
            "Grüße 🙂 e\u0301 \x00\n\n  x",
            "the end; then there: the other hat, that dog and this cat",
        ],
        "validation": [""],
        "test": [""],
    }
)
ODD = [
    "",
    "\x00",
    "\u0301 alone",
    "é e\u0301 ß",
    "東京 👩‍👩‍👧 🏳️‍🌈",
    "a\r\nb\rc\n\n\n\t  d  ",
    f"before {END} after",
    "\ufffd replaced \ufffd",
    "<0x41><0xFF>",
    "\U0010ffff\u200b\ufeff",
    "".join(chr(code) for code in range(0x250)),
    "".join(chr(random.Random(1).randrange(0xE000, 0x10FFFF)) for _ in range(50)),
]


@pytest.fixture(params=["byte", "character", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    kinds = {"byte": byte, "character": character, "bpe": lambda source: bpe(source=source, vocab_size=270)}
    return kinds[request.param](source=SOURCE)


@pytest.mark.parametrize("text", ODD)
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_id not in ids
    assert all(0 <= token < tokenizer.vocab_size for token in ids)
    assert tokenizer.encode_batch([text, "x", text]) == [ids, tokenizer.encode("x"), ids]


@pytest.mark.parametrize("text", ODD)
def test_a_stream_tells_whole_characters_and_all_of_them(tokenizer: Tokenizer, text: str) -> None:
    stream = tokenizer.stream()
    pieces = [stream.step(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) + stream.flush() == text
    assert stream.flush() == ""
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)
        assert "".join(pieces) == text


def test_a_stream_waits_for_the_last_byte() -> None:
    stream = byte(source=SOURCE).stream()
    assert [stream.step(token) for token in "a🙂b".encode()] == ["a", "", "", "", "🙂", "b"]


@pytest.mark.parametrize("make", [byte, lambda source: bpe(source=source, vocab_size=270)], ids=["byte", "bpe"])
def test_a_stream_of_bytes_that_are_no_text_equals_decode(make: Callable[..., Tokenizer]) -> None:
    """Models write such ids early in training; what is told must be what decode says, and nothing twice."""
    tokenizer = make(source=SOURCE)
    rng = random.Random(0)
    for _ in range(200):
        ids = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randrange(12))]
        stream = tokenizer.stream()
        assert "".join(stream.step(token) for token in ids) + stream.flush() == tokenizer.decode(ids)


def test_saved_and_pickled_it_is_the_same(tokenizer: Tokenizer) -> None:
    for other in (Tokenizer.from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):
        assert other.fingerprint == tokenizer.fingerprint
        assert other.to_json() == tokenizer.to_json()
        assert (other.name, other.lossless, other.end_id, other.vocab_size) == (
            tokenizer.name,
            True,
            tokenizer.vocab_size - 1,
            tokenizer.vocab_size,
        )
        assert [other.encode(text) for text in ODD] == [tokenizer.encode(text) for text in ODD]


def test_fingerprints_tell_tokenizers_apart_but_not_by_name() -> None:
    kinds = [
        byte(source=SOURCE),
        character(source=SOURCE),
        bpe(source=SOURCE, vocab_size=260),
        bpe(source=SOURCE, vocab_size=261),
    ]
    assert len({kind.fingerprint for kind in kinds}) == 4
    named = Tokenizer(byte(source=SOURCE).backend, name="other", lossless=True)
    assert named.fingerprint == kinds[0].fingerprint


def test_an_end_is_no_text() -> None:
    tokenizer = byte(source=SOURCE)
    assert tokenizer.decode([tokenizer.end_id, ord("a"), tokenizer.end_id]) == "a"
