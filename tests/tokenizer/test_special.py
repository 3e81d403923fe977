"""Guards a special token that a text can forge, that comes twice, or that a checkpoint loses."""

import pickle

from manyheads.testing import byte_tokenizer
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.special import ids_of, ordinary_ids, special_ids, with_special


def test_new_tokens_are_the_last_ids_and_stay_with_the_tokenizer() -> None:
    plain = byte_tokenizer()
    more = with_special(plain, ["<a>", "<b>"])
    assert ids_of(more, ["<b>", "<a>"]) == [258, 257]
    assert (plain.vocab_size, more.vocab_size, more.end_id) == (257, 259, plain.end_id)
    assert plain.fingerprint != more.fingerprint
    for kept in (Tokenizer.from_json(more.to_json()), pickle.loads(pickle.dumps(more))):
        assert kept.fingerprint == more.fingerprint
        assert with_special(kept, ["<a>", "<b>"]) is kept
    assert with_special(more, ["<a>"]) is more
    assert ids_of(with_special(more, ["<a>", "<c>"]), ["<a>", "<b>", "<c>"]) == [257, 258, 259]


def test_text_never_becomes_a_special_token() -> None:
    more = with_special(byte_tokenizer(), ["<a>"])
    assert more.encode("<a> x") == [*b"<a> x"]
    assert more.decode([257, *b"x", 257]) == "x"


def test_ordinary_tokens_are_those_of_texts() -> None:
    more = with_special(byte_tokenizer(), ["<a>"])
    assert sorted(special_ids(more)) == [256, 257]
    assert ordinary_ids(more).tolist() == list(range(256))
