"""Guards a word that is hidden in part, and two that are hidden as one, for each kind of tokenizer."""

import numpy as np
import pytest

from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.unigram import unigram
from manyheads.tokenizer.word_starts import WordStarts
from manyheads.tokenizer.wordpiece import wordpiece

TEXTS = ["unbelievable believers, un-believing; it's 3.14 naïve\n  indented words " * 3] * 20
SHOWN = "unbelievable words, naïve x_1\n it's"


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The decoded words of a text: each from one token that begins a word to the next."""
    ids = tokenizer.encode(text)
    begins = np.flatnonzero(WordStarts(tokenizer)(np.array([ids]))[0]).tolist()
    parts = [ids[start:end] for start, end in zip(begins, [*begins[1:], len(ids)], strict=True)]
    assert any(len(part) > 1 for part in parts)
    return [tokenizer.decode(part).strip(" #") for part in parts]


def test_bytes() -> None:
    """Half a character is of the word; white space and signs are words by themselves, byte by byte."""
    expected = ["unbelievable", "", "words", ",", "", "naïve", "", "x_1", "\n", "", "it", "'", "s"]
    assert words(byte_tokenizer(), SHOWN) == expected


@pytest.mark.parametrize("make", [bpe, unigram])
def test_pieces_that_hold_their_space(make) -> None:
    tokenizer = make(
        source=Rows({"train": TEXTS, "validation": TEXTS, "test": TEXTS}),
        vocab_size={"bpe": 290, "unigram": 34}[make.__name__],
    )
    found = [word for word in words(tokenizer, "unbelievable words, naïve it's") if word]
    assert found[:4] == ["unbelievable", "words", ",", "naïve"]
    assert "".join(found[4:]) == "it's"


def test_wordpiece() -> None:
    """Pieces with ## go on with a word; an unknown word is one token."""
    tokenizer = wordpiece(source=Rows({"train": TEXTS, "validation": TEXTS, "test": TEXTS}), vocab_size=60)
    assert words(tokenizer, "unbelievable words, it's") == ["unbelievable", "words", ",", "it", "'", "s"]
    ids = [*tokenizer.encode("words"), *tokenizer.encode("字"), *tokenizer.encode("words")]
    begins = WordStarts(tokenizer)(np.array([ids]))[0]
    assert begins.sum() == 3


def test_a_word_ends_where_a_text_does() -> None:
    """Guards two texts that stand side by side in a packed row, and the end token between them."""
    ids = np.array([[*b"ab", *b"cd", 256, *b"ef"]])
    segments = np.array([[1, 1, 2, 2, 3, 3, 3]])
    starts = WordStarts(byte_tokenizer())
    assert starts(ids).tolist() == [[True, False, False, False, True, True, False]]
    assert starts(ids, segments).tolist() == [[True, False, True, False, True, True, False]]
