"""Guards the loss and the gradients of GloVe, held to formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.cooccurrence import Cooccurrence
from manyheads.model.glove import Glove

PAIRS, COUNTS = [[1, 2], [2, 1], [3, 3], [1, 0], [4, 2]], [0.5, 4.0, 10.0, 25.0, 0.0]


def test_losses_and_gradients_are_the_formulas() -> None:
    """Pennington et al. 2014, equations 8 and 9, pair by pair, in float64; a pair without a count is none."""
    torch.manual_seed(0)
    network, head = Glove(vocab_size=5, dim=3).double(), Cooccurrence(dim=3, vocab_size=5, x_max=10.0).double()
    tables = [network.embedding, head.contexts, head.bias, head.context_bias]
    for table in tables:
        torch.nn.init.normal_(table.weight)
    w, u, a, b = (table.weight.detach().numpy() for table in tables)
    losses, slopes = np.zeros(5), [np.zeros_like(part) for part in (w, u, a, b)]
    for row, ((i, j), x) in enumerate(zip(PAIRS[:4], COUNTS[:4], strict=True)):
        weight = min(1.0, (x / 10.0) ** 0.75)
        off = w[i] @ u[j] + a[i, 0] + b[j, 0] - np.log(x)
        losses[row] = weight * off**2
        for part, place, by in zip(slopes, (i, j, i, j), (u[j], w[i], 1.0, 1.0), strict=True):
            part[place] += 2 * weight * off * by
    batch = Batch(input_ids=torch.tensor(PAIRS), counts=torch.tensor(COUNTS)[:, None].expand(-1, 2))
    hidden = network(batch)
    output = head(hidden, batch)
    output.loss_sum.backward()
    assert int(output.count) == 4
    np.testing.assert_allclose(head.losses(hidden, batch).detach(), losses, rtol=1e-12)
    assert output.loss_sum.item() == pytest.approx(losses.sum(), rel=1e-12)
    for table, slope in zip(tables, slopes, strict=True):
        assert table.weight.grad is not None
        np.testing.assert_allclose(table.weight.grad, slope, rtol=1e-10, atol=1e-14)


def test_the_weight_goes_by_the_count_and_the_target_by_what_it_would_be_in_train() -> None:
    head = Cooccurrence(dim=3, vocab_size=5, x_max=10.0)
    batch = Batch(input_ids=torch.tensor([[1, 2]]), counts=torch.tensor([[5.0, 40.0]]))
    assert head.losses(torch.zeros(1, 1, 3), batch).item() == pytest.approx(0.5**0.75 * np.log(40) ** 2, rel=1e-6)


def test_the_vectors_are_the_sums_of_both() -> None:
    network, head = Glove(vocab_size=5, dim=3), Cooccurrence(dim=3, vocab_size=5)
    found = head.vectors(network.embedding.weight)
    assert torch.equal(found, network.embedding.weight + head.contexts.weight)


def test_nothing_is_right_or_wrong() -> None:
    batch = Batch(input_ids=torch.tensor(PAIRS), counts=torch.tensor(COUNTS)[:, None].expand(-1, 2))
    assert not Cooccurrence(dim=3, vocab_size=5).scores(torch.zeros(5, 1, 3), batch).correct.any()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"x_max": 0.0}, "head.x_max=0.0: set a number above 0."),
        ({"alpha": -1.0}, "head.alpha=-1.0: set a number of at least 0."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, float], text: str) -> None:
    with pytest.raises(UserError) as error:
        Cooccurrence(dim=3, vocab_size=5, **settings)
    assert str(error.value) == text
