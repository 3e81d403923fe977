"""Guards a share that counts rows that are no pairs."""

import math

from manyheads.metric.next_sentence import NextSentenceAccuracy


def test_it_is_the_share_of_the_pairs_that_there_are() -> None:
    outputs = [(1.0, 1), (0.0, 1), (0.0, 0), (1.0, 1)]
    assert NextSentenceAccuracy().score(outputs, outputs) == 2 / 3
    assert math.isnan(NextSentenceAccuracy().score([(0.0, 0)], [(0.0, 0)]))
