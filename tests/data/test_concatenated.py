"""Several stores as one: all that a store says is what one store of all texts would say."""

import math
import pickle

import numpy as np
import pytest

from manyheads.data.concatenated import ConcatenatedStore, shares
from manyheads.data.store import TokenStore, tokenize
from manyheads.testing import Rows, byte_tokenizer

ONE, TWO = ["first", "", "öß", "x" * 30], ["other text", "b"]


def store(texts: list[str]) -> TokenStore:
    return tokenize(Rows({"train": texts, "validation": texts, "test": texts}), "train", byte_tokenizer())


@pytest.fixture
def both() -> ConcatenatedStore:
    return ConcatenatedStore([store(ONE), store(TWO)])


def test_it_is_the_store_of_all_texts(both: ConcatenatedStore):
    """Guards: an END too many between two stores, and bytes or places that do not count on."""
    whole = store(ONE + TWO)
    for name in ("num_rows", "num_empty", "num_documents", "num_tokens", "num_bytes"):
        assert getattr(both, name) == getattr(whole, name), name
    for name in ("document_starts", "piece_ends", "byte_ends"):
        assert getattr(both, name).tolist() == getattr(whole, name).tolist(), name
    places = np.arange(len(whole.tokens)).reshape(1, -1)
    assert both.tokens[places].tolist() == whole.tokens[places].tolist()
    assert both.bytes_until(places[0]).tolist() == whole.bytes_until(places[0]).tolist()
    assert pickle.loads(pickle.dumps(both)).tokens[places].tolist() == whole.tokens[places].tolist()


def test_bits_per_byte_by_store(both: ConcatenatedStore):
    """A nat for each label: (labels / bytes) / ln 2 of each store; nan where a label was not scored."""
    labels = np.diff(both.document_starts).tolist()
    loss = dict(enumerate(map(float, labels)))
    count = dict(enumerate(labels))
    one, two = len("".join(ONE).encode()), len("".join(TWO).encode())
    assert both.bits_per_byte(loss, count) == pytest.approx(
        [(one + 3) / one / math.log(2), (two + 2) / two / math.log(2)]
    )
    del count[0]
    assert math.isnan(both.bits_per_byte(loss, count)[0])


def test_shares_are_said_of_each(both: ConcatenatedStore):
    found = list(shares(["a", "b"], {"a": 1.0, "b": 3.0}, {"train": both}))
    assert found == [
        "a: 25.0% of the training tokens; train 4 rows, 39 bytes, 42 tokens",
        "b: 75.0% of the training tokens; train 2 rows, 11 bytes, 13 tokens",
    ]
    assert [line.split(" of ")[0] for line in shares(["a", "b"], None, {"train": both})] == ["a: 76.4%", "b: 23.6%"]
    assert not list(shares(["a", "b"], None, {"test": both}))


def test_tokens_are_counted_over_all_stores(both: ConcatenatedStore, monkeypatch: pytest.MonkeyPatch):
    """A few at a time, and as numpy counts the labels; the first END is no label."""
    from manyheads.data import store as module

    monkeypatch.setattr(module, "COUNTED_AT_ONCE", 3)
    labels = both.tokens[np.arange(1, both.num_tokens + 1)].astype(np.int64)
    assert both.token_counts(257).tolist() == np.bincount(labels, minlength=257).tolist()
    assert both.token_counts(257).sum() == both.num_tokens
