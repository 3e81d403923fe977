"""Guards: a tokenizer trained twice, or taken for one with other settings or other data."""

import pytest

from manyheads.errors import UserError
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.training import check_filled, check_holds_alphabet, trained_once


def test_it_is_trained_once_for_each_kind_data_and_settings() -> None:
    made = []

    def train():
        made.append(1)
        return byte_tokenizer()

    one, other = Rows({"train": ["trained once"]}), Rows({"train": ["trained anew"]})
    calls = [("a", one, [1]), ("a", one, [1]), ("a", one, [2]), ("b", one, [1]), ("a", other, [1])]
    for call in calls:
        assert trained_once(*call, train).fingerprint == byte_tokenizer().fingerprint
    assert len(made) == 4


def test_the_texts_of_errors() -> None:
    check_filled(5, 5)
    check_holds_alphabet(5, 5, "")
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size=5: the training split fills only 4\. Set .*=4 or less"):
        check_filled(5, 4)
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size=5: the characters .* fill 6\. Set .* above 6, or X\."):
        check_holds_alphabet(5, 6, ", or X")
