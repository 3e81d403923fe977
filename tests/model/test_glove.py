"""The network of GloVe."""

from __future__ import annotations

import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.glove import Glove


def test_a_state_is_the_vector_of_the_first_word() -> None:
    torch.manual_seed(0)
    net = Glove(vocab_size=2000, dim=5)
    assert torch.equal(net(Batch(input_ids=torch.tensor([[1, 2], [7, 0]])))[:, 0], net.embedding.weight[[1, 7]])
    assert 0.0999 < net.embedding.weight.abs().max().item() <= 0.1


@pytest.mark.parametrize("key", ["vocab_size", "dim"])
def test_numbers_out_of_range_are_refused_by_name(key: str) -> None:
    with pytest.raises(UserError, match=rf"model\.{key}=0: set a whole number of at least 1\."):
        Glove(**{"vocab_size": 9, key: 0})
