"""Guards n-grams that are hashed in another order than fastText's, or counted over the beginning of a text."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.label import Label
from manyheads.model.bag_of_embeddings import FACTOR, BagOfEmbeddings


def hashed(tokens: list[int], buckets: int) -> int:
    """As fastText adds the words of an n-gram from the newest to the oldest... in 64 bits with a sign, as torch has them."""
    found = 0
    for token in reversed(tokens):
        found = (found * FACTOR + token + 2**63) % 2**64 - 2**63
    return found % buckets


def test_states_by_hand() -> None:
    torch.manual_seed(0)
    net = BagOfEmbeddings(vocab_size=9, dim=3, ngrams=3, buckets=7)
    assert net.ngram_embedding is not None
    text, table = [5, 1, 8, 8, 2], net.ngram_embedding.weight
    wanted = []
    for place in range(5):
        vectors = [net.embedding.weight[text[place]]]
        vectors += [table[hashed(text[place - n + 1 : place + 1], 7)] for n in (2, 3) if place >= n - 1]
        wanted.append(torch.stack(vectors).sum(0) / 3)
    torch.testing.assert_close(net(Batch(input_ids=torch.tensor([text])))[0], torch.stack(wanted))


def test_the_mean_over_a_text_is_fasttexts_but_for_its_beginning() -> None:
    """All n-grams that there are count once; the mean here is over three for each token."""
    torch.manual_seed(0)
    net = BagOfEmbeddings(vocab_size=9, dim=3, ngrams=2, buckets=11)
    assert net.ngram_embedding is not None
    head = Label(dim=3, labels=["a", "b"])
    text = [4, 4, 0, 7]
    vectors = [net.embedding.weight[token] for token in text]
    vectors += [net.ngram_embedding.weight[hashed(text[i : i + 2], 11)] for i in range(3)]
    ids = torch.tensor([[*text, 8, 8]])  # padded
    batch = Batch(input_ids=ids, segments=torch.tensor([[1, 1, 1, 1, 0, 0]]), classes=torch.tensor([1]))
    pooled = torch.stack(vectors).sum(0) / 8
    wanted = torch.nn.functional.cross_entropy(head.output(pooled)[None], torch.tensor([1]))
    torch.testing.assert_close(head(net(batch), batch).loss_sum, wanted)


def test_dropout_leaves_out_whole_vectors_in_training_alone() -> None:
    net, batch = (
        BagOfEmbeddings(vocab_size=9, dim=4, ngrams=1, dropout=0.5).eval(),
        Batch(input_ids=torch.arange(9)[None]),
    )
    whole = net(batch)[0]
    net.train()
    found = torch.stack([net(batch)[0] for _ in range(20)])  # [20, 9, 4]
    gone = (found == 0).all(-1)
    assert 0.3 < gone.float().mean() < 0.7
    torch.testing.assert_close(found[~gone], (2 * whole).expand(20, 9, 4)[~gone])


def test_vectors_start_uniform() -> None:
    net = BagOfEmbeddings(vocab_size=300, dim=50, buckets=300)
    for parameter in net.parameters():
        assert parameter.abs().max().item() == pytest.approx(1 / 50, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ngrams": 0}, "model.ngrams=0: set a whole number of at least 1."),
        ({"buckets": 0}, "model.buckets=0: set a whole number of at least 1."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        BagOfEmbeddings(**{"vocab_size": 20} | settings)
    assert str(caught.value) == text
