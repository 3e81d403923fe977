import math

import pytest

from manyheads.metric.pseudo_perplexity import PseudoPerplexity


def test_sums_over_all_rows_are_divided_once() -> None:
    """Guards a mean of means: (ln 2 + 3 ln 4) / 4 = 7/4 ln 2; rows that were not read count nothing."""
    outputs = [(math.log(2), 1), (0.0, 0), (3 * math.log(4), 3)]
    assert PseudoPerplexity().score(outputs, outputs) == pytest.approx(2 ** (7 / 4), rel=1e-12)


def test_nothing_is_nan() -> None:
    assert math.isnan(PseudoPerplexity().score([(0.0, 0)], [None]))
