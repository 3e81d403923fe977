"""What heads of word vectors have in common."""

from __future__ import annotations

import pytest

from manyheads.head.cooccurrence import Cooccurrence
from manyheads.head.negative_sampling import NegativeSampling
from manyheads.head.word import WordHead


@pytest.mark.parametrize("head", [NegativeSampling, Cooccurrence])
def test_a_word_costs_the_product_of_two_vectors(head: type[WordHead]) -> None:
    assert head(dim=8, vocab_size=30).further_flops(16, True) == 16  # type: ignore[call-arg]
