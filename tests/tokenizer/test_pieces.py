"""Guards constraints on texts against pieces that do not join to the text that is decoded."""

from __future__ import annotations

import random

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from manyheads.testing import Rows
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.byte import byte
from manyheads.tokenizer.bytelevel import with_end
from manyheads.tokenizer.character import character
from manyheads.tokenizer.pieces import first_and_later
from manyheads.tokenizer.unigram import unigram
from manyheads.tokenizer.wordpiece import wordpiece

WORDS = [a + b + c for a in ("low", "new", "wide", "the") for b in ("er", "est", "") for c in ("ing", "s", "")]
TEXTS = ["the cat and the dog, the hat 🙂 é", *(f"{word} a{word}, {word}s\n" for word in WORDS)]
SOURCE = Rows({"train": TEXTS, "validation": [""], "test": [""]})


def spaced() -> Tokenizer:
    """As Llama 2 writes: words bring their space, the one at the beginning of a text is dropped, unknown characters are bytes."""
    vocab = ["<unk>", *(f"<0x{value:02X}>" for value in range(256)), "▁", "▁a", "a", "b", "▁ab"]
    model = models.BPE(
        vocab={token: index for index, token in enumerate(vocab)},
        merges=[("▁", "a"), ("▁a", "b")],
        unk_token="<unk>",
        byte_fallback=True,
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return with_end(backend, "spaced", lossless=False)


KINDS = {
    "byte": lambda: byte(source=SOURCE),
    "bpe": lambda: bpe(source=SOURCE, vocab_size=280),
    "character": lambda: character(source=SOURCE),
    "unigram": lambda: unigram(source=SOURCE, vocab_size=45),
    "wordpiece": lambda: wordpiece(source=SOURCE, vocab_size=50),
    "spaced": spaced,
}


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_join_to_what_is_decoded(kind: str) -> None:
    """Of texts as they are encoded, and of tokens by chance where they make whole characters."""
    tokenizer = KINDS[kind]()
    first, later = first_and_later(tokenizer)
    assert len(first) == len(later) == tokenizer.vocab_size
    dice = random.Random(0)
    texts = [tokenizer.encode(text) for text in ("the cat", " a dog, é🙂", "ab ab", "x\n")]
    whole = [token for token, piece in enumerate(later) if piece and "\ufffd" not in piece.decode(errors="replace")]
    texts += [dice.choices(whole, k=6) for _ in range(50)]
    checked = 0
    for tokens in texts:
        joined = b"".join((later if place else first)[token] for place, token in enumerate(tokens))
        if tokenizer.unknown_id in tokens or "\ufffd" in (text := joined.decode(errors="replace")):
            continue
        assert text == tokenizer.decode(tokens)
        checked += 1
    assert checked > 20


def test_what_writes_no_text_has_no_piece() -> None:
    for kind in KINDS.values():
        tokenizer = kind()
        first, later = first_and_later(tokenizer)
        assert first[tokenizer.end_id] == later[tokenizer.end_id] == b""
        if tokenizer.unknown_id is not None:
            assert first[tokenizer.unknown_id] == later[tokenizer.unknown_id] == b""


def test_a_token_that_is_half_a_character_is_its_bytes() -> None:
    _, later = first_and_later(byte(source=SOURCE))
    assert later[:256] == tuple(bytes([value]) for value in range(256))
    tokenizer = spaced()
    first, later = first_and_later(tokenizer)
    assert later[1:257] == tuple(bytes([value]) for value in range(256))
    word = tokenizer.backend.token_to_id("▁ab")
    assert (first[word], later[word]) == (b"ab", b" ab")
