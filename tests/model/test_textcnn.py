"""Guards filters that are shifted, or that see over the end of a text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.model.textcnn import TextCNN


def test_a_text_alone_is_torchs_convolution() -> None:
    torch.manual_seed(0)
    net, ids = TextCNN(vocab_size=9, dim=3, widths=[1, 2, 3, 4], filters=5), torch.randint(0, 9, (2, 7))
    x = net.embedding(ids).transpose(1, 2)
    wanted = []
    for width, layer in zip([1, 2, 3, 4], net.convolutions, strict=True):
        made = nn.Conv1d(3, 5, width)
        linear = layer.filters
        assert isinstance(linear, nn.Linear)
        made.load_state_dict({"weight": linear.weight.view(5, width, 3).transpose(1, 2), "bias": linear.bias})
        wanted.append(torch.relu(made(nn.functional.pad(x, ((width - 1) // 2, width // 2)))))
    torch.testing.assert_close(net(Batch(input_ids=ids)), torch.cat(wanted, 1).transpose(1, 2))
    assert net.dim == 20


def test_a_state_knows_its_neighbours_and_no_more() -> None:
    torch.manual_seed(0)
    net = TextCNN(vocab_size=9, dim=4, widths=[2, 4], filters=50).double()
    with torch.no_grad():
        found = net(Batch(input_ids=torch.tensor([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 8, 4, 5, 6]])))
    assert ((found[0] - found[1]).abs() > 1e-9).any(-1).tolist() == [False, True, True, True, True, False, False]


def test_dropout_acts_in_training_alone() -> None:
    net, batch = TextCNN(vocab_size=9, dropout=0.5).eval(), Batch(input_ids=torch.tensor([[1, 2, 3]]))
    assert torch.equal(net(batch), net(batch))
    net.train()
    assert not torch.equal(net(batch), net(batch))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"widths": []}, "model.widths=[]: set how many tokens filters go over, such as [3,4,5]."),
        ({"widths": [3, 0]}, "model.widths=0: set a whole number of at least 1."),
        ({"filters": 0}, "model.filters=0: set a whole number of at least 1."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        TextCNN(**{"vocab_size": 20} | settings)
    assert str(caught.value) == text
