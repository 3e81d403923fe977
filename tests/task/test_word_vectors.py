"""The task of word vectors: which of its forms it is."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.signature import parameters
from manyheads.task.word_counts import WordCounts
from manyheads.task.word_vectors import FORMS, word_vectors
from manyheads.task.word_windows import WordWindows
from manyheads.testing import Rows, byte_tokenizer


def make(reads: str, **settings: Any) -> Any:
    source = Rows({"train": ["ab"], "validation": ["ab"], "test": ["ab"]})
    return word_vectors(source=source, tokenizer=byte_tokenizer(), seed=1, kind="skip-gram", reads=reads, **settings)


def test_the_head_says_which_form_it_is() -> None:
    assert isinstance(make("candidates"), WordWindows)
    assert isinstance(make("counts"), WordCounts)
    with pytest.raises(
        UserError, match=r"task\.negatives=9 counts for nothing with a head that reads counts\. Leave it out"
    ):
        make("counts", negatives=9)


@pytest.mark.parametrize("reads", FORMS)
def test_both_forms_have_the_defaults_of_the_whole(reads: str) -> None:
    whole = parameters(word_vectors)
    for name, setting in parameters(FORMS[reads]).items():
        assert whole[name].default == setting.default, name
