import math

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.head import token
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
    monkeypatch.setattr(token, "CPU_LOGITS", size)
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


OPTIONS: list[dict[str, float]] = [
    {"z_loss": 0.1},
    {"label_smoothing": 0.3},
    {"mtp_tokens": 2},
    {"chunked": True},
    {"softcap": 0.4},
]
ALL: dict[str, float] = {name: value for option in OPTIONS for name, value in option.items()}


def options_case(options: dict[str, float]) -> tuple[NextToken, torch.Tensor, Batch]:
    torch.manual_seed(0)
    head = NextToken(dim=4, vocab_size=6, bias=True, **options).double()  # type: ignore[arg-type]
    for layer in head.ahead:
        torch.nn.init.normal_(layer.weight)  # type: ignore[arg-type]
    labels = torch.randint(0, 6, (2, 7))
    labels[0, 5:] = IGNORE
    segments = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1] * 7])
    hidden = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)
    return head, hidden, Batch(labels=labels, segments=segments)


@pytest.mark.parametrize("options", [*OPTIONS, ALL])
def test_scores_stay_the_plain_loss(options: dict[str, float]) -> None:
    """Guards a validation loss that a training option moves; 12 labels."""
    head, hidden, batch = options_case(options)
    plain = torch.nn.functional.cross_entropy(head.logits(hidden).transpose(1, 2), batch["labels"], reduction="none")
    torch.testing.assert_close(head.losses(hidden, batch), plain)
    for output in (head(hidden, batch), head.objective(hidden, batch).output):
        torch.testing.assert_close(output.loss_sum, plain.sum())
        assert output.count.item() == 12


def test_the_objective_is_what_the_papers_add_up() -> None:
    """Each term from whole logits by torch's own functions; a distance of 2 has 3 + 1 + 5 labels, one of 1 has 4 + 6 - 1."""
    head, hidden, batch = options_case(ALL | {"mtp_weight": 0.5})
    total, _, terms = head.objective(hidden, batch)
    logits, labels = head.logits(hidden).flatten(0, 1), batch["labels"].flatten()
    smoothed = torch.nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.3)
    squares = logits.logsumexp(-1)[labels != IGNORE].square().sum()
    further = []
    for layer, pairs in zip(head.ahead, ([(0, [0, 1, 3]), (1, range(6))], [(0, [0]), (1, range(5))]), strict=True):
        distance = len(further) + 1
        states = layer(hidden)
        further.append(
            sum(
                torch.nn.functional.cross_entropy(head.logits(states[row, at]), batch["labels"][row, at + distance])
                for row, places in pairs
                for at in places
            )
        )
    wanted = {"z_loss": squares, "smoothed_loss": smoothed, "mtp_loss_2": further[0], "mtp_loss_3": further[1]}
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name].loss_sum, value)
    assert {name: term.count.item() for name, term in terms.items()} == {
        "z_loss": 12, "smoothed_loss": 12, "mtp_loss_2": 9, "mtp_loss_3": 6,
    }  # fmt: skip
    expected = smoothed + 0.1 * squares + 0.5 * (further[0] + further[1])
    torch.testing.assert_close(total, expected)
    parameters = [hidden, *head.parameters()]
    torch.testing.assert_close(torch.autograd.grad(total, parameters), torch.autograd.grad(expected, parameters))


def test_without_options_the_objective_is_the_loss_itself() -> None:
    head, hidden, batch = options_case({})
    total, output, terms = head.objective(hidden, batch)
    assert total is output.loss_sum
    assert terms == {}
    assert [name for name, _ in head.named_parameters()] == ["weight", "bias"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"z_loss": -1}, "head.z_loss=-1: set a number of at least 0"),
        ({"label_smoothing": 1.5}, "head.label_smoothing=1.5: set a number from 0 to 1"),
        ({"mtp_tokens": -1}, "head.mtp_tokens=-1: set a whole number of at least 0"),
        ({"mtp_weight": -0.1}, "head.mtp_weight=-0.1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], text: str) -> None:
    with pytest.raises(UserError) as caught:
        NextToken(dim=2, vocab_size=2, **options)  # type: ignore[arg-type]
    assert text in str(caught.value)


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


def test_right_labels_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ties (the first of two equal logits counts, as greedy decoding takes it) and ignored labels."""
    head = NextToken(dim=3, vocab_size=3)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
    hidden = torch.tensor([[[3.0, 0, 0], [0, 0, 3.0], [1, 1, 0], [1, 1, 0], [0, 3.0, 0]]])
    labels = torch.tensor([[0, 1, 0, 1, IGNORE]])
    for logits_at_once in (2**20, 6):  # all positions, and two at a time
        monkeypatch.setattr("manyheads.head.token.CPU_LOGITS", logits_at_once)
        scores = head.scores(hidden, Batch(input_ids=labels, labels=labels))
        assert scores.correct.tolist() == [[True, False, True, False, False]]
        assert scores.losses.shape == (1, 5)
