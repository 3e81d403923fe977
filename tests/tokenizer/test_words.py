"""Guards a word that is taken for a piece of another."""

from __future__ import annotations

from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.word import word
from manyheads.tokenizer.words import Words

TEXTS = {"train": ["low lower low newer new low king king"] * 9, "validation": ["v"], "test": ["t"]}


def test_a_words_token_is_the_one_that_it_has_in_a_text() -> None:
    tokenizer = word(source=Rows(TEXTS), min_count=1)
    words = Words(tokenizer)
    token = words.id_of("king")
    assert token == tokenizer.encode("a king")[1]
    assert token is not None
    assert words.text(token) == "king"
    assert words.id_of("queen") is None
    assert words.id_of("[UNK]") is None
    assert words.ids_of("a king queen low") == tokenizer.encode("king low")
    assert tokenizer.end_id not in words.known
    assert tokenizer.unknown_id not in words.known


def test_of_pieces_the_one_behind_a_space_comes_first() -> None:
    tokenizer = bpe(source=Rows(TEXTS), vocab_size=268)
    words = Words(tokenizer)
    token = words.id_of("low")
    assert token is not None
    assert tokenizer.decode([token]) == " low"
    assert words.text(token) == "low"
    assert words.id_of("zebra") is None


def test_bytes_are_words_of_one_letter() -> None:
    words = Words(byte_tokenizer())
    assert words.id_of("x") == ord("x")
    assert words.ids_of("xy") == [120, 121]
    assert words.text(ord(" ")) != ""
