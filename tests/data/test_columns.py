"""Guards: the wrong column taken for the text when another one is called "text"."""

import datasets

from manyheads.data.columns import with_text


def test_the_named_column_wins_over_one_that_is_called_text() -> None:
    rows = datasets.Dataset.from_dict({"text": ["wrong"], "body": ["right"], "n": [1]})
    found = with_text(rows, "body", "f")
    assert found[0] == {"text": "right", "n": 1}
    assert with_text(rows, "text", "f")[0] == {"text": "wrong", "body": "right", "n": 1}
