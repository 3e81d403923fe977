"""Muon against torch's, against singular values, and as one optimizer among schedulers and checkpoints."""

import io

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from manyheads.errors import UserError
from manyheads.optim import muon as module_under_test
from manyheads.optim.muon import MuonAdamW, muon, orthogonalize

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 24), nn.LayerNorm(24), nn.Linear(24, 8, bias=False))


def set_gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def train(module: nn.Module, *optimizers: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        set_gradients(module, seed)
        for optimizer in optimizers:
            optimizer.step()


def by_hand(module: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    embedding, first, bias, scale, shift, last = module.parameters()
    rest = [{"params": [embedding, bias, scale, shift], "weight_decay": 0.0}]
    return (
        torch.optim.Muon([first, last], lr=0.02, momentum=0.9, weight_decay=0.2),
        torch.optim.AdamW(rest, lr=0.005, betas=(0.8, 0.9), eps=1e-6, fused=True),
    )


def ours_of(module: nn.Module) -> MuonAdamW:
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.2, "adamw_lr": 0.005, "betas": (0.8, 0.9), "eps": 1e-6}
    optimizer = muon(module=module, **settings).optimizer
    assert isinstance(optimizer, MuonAdamW)
    return optimizer


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_orthogonalize_maps_singular_values_through_the_quintic(shape: tuple[int, int]) -> None:
    """Guards against a wrong product or a missing transpose: U and V stay, each singular value goes p(p(..p(s)))."""
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    got = orthogonalize(matrix, coefficients=COEFFICIENTS, steps=5, eps=1e-7)
    torch.testing.assert_close(got, left @ values.diag() @ right, rtol=0, atol=1e-10)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_equals_torch_muon_and_adamw_stepped_by_hand_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against any difference but precision: with torch's bfloat16 in our step, all weights are equal."""

    def in_bfloat16(matrix: Tensor, *, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
        return torch.optim._muon._zeropower_via_newtonschulz(matrix, coefficients, steps, eps)

    monkeypatch.setattr(module_under_test, "orthogonalize", in_bfloat16)
    ours, theirs = model(), model()
    train(ours, ours_of(ours), seeds=range(4))
    train(theirs, *by_hand(theirs), seeds=range(4))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_equals_torch_muon_to_its_bfloat16() -> None:
    """Guards against a float32 iteration that goes somewhere else: one step differs by less than bfloat16 rounds."""
    ours, theirs = model(), model()
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    train(ours, ours_of(ours), seeds=range(1))
    train(theirs, *by_hand(theirs), seeds=range(1))
    for start, one, other in zip(before, ours.parameters(), theirs.parameters(), strict=True):
        assert (one - other).norm() <= 0.02 * (other - start).norm()


def test_a_checkpoint_of_one_optimizer_carries_both_halves() -> None:
    """Guards against halves that keep the state they had before loading: what follows a resume is equal to the bit."""
    straight = model()
    train(straight, ours_of(straight), seeds=range(6))
    first = model()
    optimizer = ours_of(first)
    train(first, optimizer, seeds=range(3))
    file = io.BytesIO()
    torch.save({"weights": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = model()
    second.load_state_dict(saved["weights"])
    resumed = ours_of(second)
    resumed.load_state_dict(saved["optimizer"])
    train(second, resumed, seeds=range(3, 6))
    for one, other in zip(straight.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert len(resumed.state) == 6


def test_a_scheduler_moves_both_rates_also_after_loading() -> None:
    """Guards against a half that keeps its own learning rate: at a factor of 0 nothing moves."""
    module = model()
    optimizer = ours_of(module)
    optimizer.load_state_dict(optimizer.state_dict())
    scheduler = LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.005]
    train(module, optimizer, seeds=range(1))
    scheduler.step()
    before = [parameter.detach().clone() for parameter in module.parameters()]
    train(module, optimizer, seeds=range(1, 2))
    for start, now in zip(before, module.parameters(), strict=True):
        assert torch.equal(start, now)


def test_the_closure_runs_once_and_its_loss_comes_back() -> None:
    """Guards against a closure that both halves run: Lightning computes the batch in it."""
    module = model()
    calls: list[int] = []

    def closure() -> float:
        calls.append(1)
        set_gradients(module, 0)
        return 1.5

    assert ours_of(module).step(closure) == 1.5
    assert calls == [1]


def test_clears_all_gradients() -> None:
    """Guards against gradients of one half that pile up."""
    module = model()
    set_gradients(module, 0)
    ours_of(module).zero_grad()
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr": -0.02}, "optim.lr=-0.02: set a number of at least 0."),
        ({"adamw_lr": -1}, "optim.adamw_lr=-1: set a number of at least 0."),
        ({"momentum": 1.5}, "optim.momentum=1.5: set a number from 0 to 1."),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against torch's own words, which do not name the key."""
    with pytest.raises(UserError) as error:
        muon(module=model(), **settings)
    assert str(error.value) == text


def test_a_network_without_hidden_matrices_is_adamws_alone() -> None:
    """A bag of embeddings, with the default optimizer. Guards against torch's `empty parameter list`."""
    ours, by_torch = (nn.Embedding.from_pretrained(torch.eye(3, 4), freeze=False) for _ in range(2))
    adamw = torch.optim.AdamW(by_torch.parameters(), lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    train(ours, muon(module=ours).optimizer, seeds=range(3))
    train(by_torch, adamw, seeds=range(3))
    assert torch.equal(ours.weight, by_torch.weight)


def test_a_network_of_hidden_matrices_alone_is_told_so() -> None:
    with pytest.raises(UserError, match=r"^optim=muon: .* Set optim=adamw.$"):
        muon(module=nn.Linear(3, 4, bias=False))
