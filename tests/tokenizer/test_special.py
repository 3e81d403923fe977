"""Guards: a special token that a text can forge, and a tokenizer that grows each time it is loaded."""

from manyheads.testing import byte_tokenizer
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.special import ids_of, with_special

NAMES = ["<|2de|>", "<|2en|>"]


def test_the_tokens_are_the_last_ids_and_no_text_becomes_one() -> None:
    plain, made = byte_tokenizer(), with_special(byte_tokenizer(), NAMES)
    assert ids_of(made, NAMES) == [257, 258]
    assert (plain.vocab_size, made.vocab_size) == (257, 259)
    assert made.encode("a<|2de|>") == list(b"a<|2de|>")
    assert made.decode([*b"a", 257, *b"b"]) == "ab"
    assert (made.end_id, made.name, made.lossless) == (plain.end_id, plain.name, plain.lossless)
    assert made.fingerprint != plain.fingerprint


def test_what_has_them_stays_as_it_is() -> None:
    made = with_special(byte_tokenizer(), NAMES)
    assert with_special(made, NAMES) is made
    kept = Tokenizer.from_json(made.to_json())
    assert with_special(kept, NAMES) is kept
    assert ids_of(kept, NAMES) == [257, 258]
