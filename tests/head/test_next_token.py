import math

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.head import next_token
from manyheads.head.next_token import NextToken


def test_loss_by_hand_is_a_sum_and_a_count() -> None:
    """Logits (ln 1, ln 3): the losses are ln 4 and ln(4/3); the ignored position adds nothing to either number."""
    head = NextToken(dim=1, vocab_size=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [math.log(3)]]))
    hidden = torch.ones(1, 3, 1)
    batch = Batch(labels=torch.tensor([[0, IGNORE, 1]]))
    losses = head.losses(hidden, batch)
    torch.testing.assert_close(losses, torch.tensor([[math.log(4), 0.0, math.log(4 / 3)]]))
    output = head(hidden, batch)
    assert output.loss_sum.item() == pytest.approx(math.log(4) + math.log(4 / 3), rel=1e-6)
    assert output.count.item() == 2


def test_only_ignored_labels_give_zero_and_zero() -> None:
    """A mean would be 0 / 0 here."""
    head = NextToken(dim=3, vocab_size=4)
    output = head(torch.randn(2, 2, 3), Batch(labels=torch.full((2, 2), IGNORE)))
    assert (output.loss_sum.item(), output.count.item()) == (0.0, 0)


@pytest.mark.parametrize("size", [1, 4, 20, 10_000])
def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Guards labels and hidden states that fall out of step where parts are cut, and the last, shorter part."""
    torch.manual_seed(0)
    head = NextToken(dim=3, vocab_size=4, bias=True).double()
    hidden = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (3, 5))
    labels[1, 2:4] = IGNORE
    expected = torch.nn.functional.cross_entropy(head.logits(hidden).transpose(1, 2), labels, reduction="none")
    (wanted,) = torch.autograd.grad(expected.sum(), hidden)
    monkeypatch.setattr(next_token, "CPU_LOGITS", size)
    torch.testing.assert_close(head.losses(hidden, Batch(labels=labels)), expected)
    output = head(hidden, Batch(labels=labels))
    torch.testing.assert_close(output.loss_sum, expected.sum())
    (found,) = torch.autograd.grad(output.loss_sum, hidden)
    torch.testing.assert_close(found, wanted)


def test_the_sum_is_float32_under_autocast_and_float64_for_float64() -> None:
    """Guards a sum of thousands of losses in 8 significant bits."""
    head, batch = NextToken(dim=3, vocab_size=4), Batch(labels=torch.zeros(1, 2, dtype=torch.long))
    with torch.autocast("cpu", torch.bfloat16):
        assert head.logits(torch.randn(1, 2, 3)).dtype == torch.bfloat16
        assert head(torch.randn(1, 2, 3), batch).loss_sum.dtype == torch.float32
        assert head.losses(torch.randn(1, 2, 3), batch).dtype == torch.float32
    assert head.double()(torch.randn(1, 2, 3).double(), batch).loss_sum.dtype == torch.float64


def test_own_weights_and_tied_ones() -> None:
    torch.manual_seed(0)
    own = NextToken(dim=100, vocab_size=200, init_std=0.05)
    assert own.weight.std().item() == pytest.approx(0.05, rel=0.03)
    tied = NextToken(dim=100, vocab_size=200, weight=own.weight)
    assert tied.weight is own.weight
    assert tied.bias is None


def test_a_negative_std_is_refused() -> None:
    with pytest.raises(UserError, match=r"head.init_std=-1"):
        NextToken(dim=2, vocab_size=2, init_std=-1)


def test_a_soft_cap_bounds_the_logits() -> None:
    """c tanh(logit / c) on top of the bias, in generation and in the loss alike."""
    torch.manual_seed(0)
    plain, capped = NextToken(dim=4, vocab_size=7, bias=True), NextToken(dim=4, vocab_size=7, bias=True, softcap=0.3)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_()
    capped.load_state_dict(plain.state_dict())
    hidden, labels = torch.randn(2, 3, 4), torch.randint(0, 7, (2, 3))
    expected = 0.3 * torch.tanh(plain.logits(hidden) / 0.3)
    torch.testing.assert_close(capped.logits(hidden), expected)
    batch = Batch(input_ids=labels, labels=labels)
    wanted = torch.nn.functional.cross_entropy(expected.flatten(0, 1), labels.flatten(), reduction="none").view(2, 3)
    torch.testing.assert_close(capped.losses(hidden, batch), wanted)
    torch.testing.assert_close(capped(hidden, batch).loss_sum, wanted.sum())
    with pytest.raises(UserError, match=r"head.softcap=0: set a number above 0, or null."):
        NextToken(dim=4, vocab_size=7, softcap=0)


def test_right_labels_are_counted_outside_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the hot path, ties (the first of two equal logits counts, as greedy decoding takes it) and ignored labels."""
    head = NextToken(dim=3, vocab_size=3)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
    hidden = torch.tensor([[[3.0, 0, 0], [0, 0, 3.0], [1, 1, 0], [1, 1, 0], [0, 3.0, 0]]])
    labels = torch.tensor([[0, 1, 0, 1, IGNORE]])
    batch = Batch(input_ids=labels, labels=labels)
    assert head(hidden, batch).correct is None
    head.eval()
    for logits_at_once in (2**20, 6):  # all positions, and two at a time
        monkeypatch.setattr("manyheads.head.next_token.CPU_LOGITS", logits_at_once)
        output = head(hidden, batch)
        assert (output.correct.item(), output.count.item()) == (2, 4)
