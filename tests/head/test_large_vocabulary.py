"""Guards: gradients written by hand that differ from autograd's, and a chunk's border that is read twice or not at all."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from manyheads.batch import IGNORE
from manyheads.head import large_vocabulary
from manyheads.head.large_vocabulary import chunked_loss


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in ((11, 5), (7, 5), (7,)))
    labels = torch.randint(0, 7, (11,))
    labels[[0, 4, 5]] = IGNORE
    return hidden, weight, bias, labels


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("rows", [1, 4, 50])
def test_losses_and_gradients_are_autograds(
    monkeypatch: pytest.MonkeyPatch, z_loss: float, smoothing: float, softcap: float | None, rows: int
) -> None:
    """The oracle is torch's own cross-entropy, smoothed by torch, and (log Z)^2 of whole logits, to 1e-12."""
    monkeypatch.setitem(large_vocabulary.CHUNK_LOGITS, "cpu", 7 * rows)
    hidden, weight, bias, labels = inputs()
    logits = F.linear(hidden, weight, bias)
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    loss = F.cross_entropy(logits, labels, reduction="sum")
    smoothed = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    squares = logits.logsumexp(-1)[labels != IGNORE].square().sum()
    sums = chunked_loss(hidden, weight, bias, labels, z_loss=z_loss, label_smoothing=smoothing, softcap=softcap)
    torch.testing.assert_close(torch.stack(sums), torch.stack([smoothed + z_loss * squares, loss, smoothed, squares]))
    wanted = torch.autograd.grad(3 * (smoothed + z_loss * squares), (hidden, weight, bias))
    found = torch.autograd.grad(3 * sums.objective, (hidden, weight, bias))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert not any(value.requires_grad for value in sums[1:])


def test_without_bias_and_with_a_frozen_weight() -> None:
    hidden, weight, _, labels = inputs()
    weight.requires_grad_(False)
    chunked_loss(hidden, weight, None, labels).objective.backward()
    (wanted,) = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, labels, reduction="sum"), hidden)
    torch.testing.assert_close(hidden.grad, wanted)
    assert weight.grad is None


def test_only_ignored_labels_cost_nothing() -> None:
    """A gradient of 0 * nan would poison the weights."""
    hidden, weight, bias, labels = inputs()
    sums = chunked_loss(hidden, weight, bias, labels.fill_(IGNORE), z_loss=1.0, label_smoothing=0.1)
    sums.objective.backward()
    assert [value.item() for value in sums] == [0.0] * 4
    assert all(float(each.grad.abs().max()) == 0 for each in (hidden, weight, bias) if each.grad is not None)


def test_autocast_multiplies_in_half_precision_and_adds_in_float32() -> None:
    hidden, weight, bias, labels = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        sums = chunked_loss(hidden, weight, bias, labels)
        rounded = F.cross_entropy(F.linear(hidden, weight, bias).float(), labels, reduction="sum")
    assert sums.loss.dtype == torch.float32
    assert sums.loss.item() == pytest.approx(rounded.item(), rel=1e-6)
    wanted = torch.autograd.grad(rounded, (hidden, weight, bias))
    found = torch.autograd.grad(sums.objective, (hidden, weight, bias))
    assert {each.dtype for each in found} == {torch.float32}
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


def test_gradients_cannot_be_asked_for_twice() -> None:
    """They are scaled in place: a second answer would be wrong without a word."""
    hidden, weight, bias, labels = inputs()
    loss = chunked_loss(hidden, weight, bias, labels).objective
    loss.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="once"):
        loss.backward()
