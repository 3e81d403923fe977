"""Guards a mean that counts padding."""

from __future__ import annotations

import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.word2vec import Word2Vec


def test_a_state_is_the_mean_of_the_words_that_are_there() -> None:
    net = Word2Vec(vocab_size=9, dim=4, objective="cbow").double()
    ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
    found = net(Batch(input_ids=ids, segments=torch.tensor([[1, 1, 1], [1, 1, 0]])))
    table = net.embedding.weight
    torch.testing.assert_close(found[:, 0], torch.stack([table[[1, 2, 3]].mean(0), table[[4, 5]].mean(0)]))
    torch.testing.assert_close(net(Batch(input_ids=ids))[1, 0], table[[4, 5, 0]].mean(0))
    assert found.shape == (2, 1, 4)


def test_skip_gram_reads_one_word() -> None:
    net = Word2Vec(vocab_size=9, dim=4)
    assert torch.equal(net(Batch(input_ids=torch.tensor([[1], [7]])))[:, 0], net.embedding.weight[[1, 7]])


def test_the_objective_is_the_kind() -> None:
    kinds = [Word2Vec(vocab_size=9, objective=name).kind for name in ("skip_gram", "cbow")]  # type: ignore[arg-type]
    assert kinds == ["skip-gram", "cbow"]
    assert Word2Vec.kind == "skip-gram"


def test_vectors_start_within_their_bounds() -> None:
    torch.manual_seed(0)
    weight = Word2Vec(vocab_size=2000, dim=5).embedding.weight.detach()
    assert 0.0999 < float(weight.abs().max()) <= 0.1
    assert abs(float(weight.mean())) < 0.003


@pytest.mark.parametrize("key", ["vocab_size", "dim"])
def test_numbers_out_of_range_are_refused_by_name(key: str) -> None:
    with pytest.raises(UserError, match=rf"model\.{key}=0: set a whole number of at least 1\."):
        Word2Vec(**{"vocab_size": 9, key: 0})
