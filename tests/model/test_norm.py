import pytest
import torch
import torch.nn.functional as F
from torch import nn

from manyheads.model.norm import NORMS, RMSNorm


def test_rms_norm_by_hand() -> None:
    """The mean square of (3, 4) is 12.5; eps 0 shows that nothing else is under the root."""
    norm = RMSNorm(2, eps=0.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0]))
    expected = torch.tensor([3.0, 8.0]) / 12.5**0.5
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_both_ways_to_compute_it_agree_with_torch(dtype: torch.dtype) -> None:
    """The CPU's own formula against F.rms_norm: values and gradients, with an eps large enough to show."""
    torch.manual_seed(0)
    norm = RMSNorm(8, eps=0.5).to(dtype)
    x = torch.randn(3, 5, 8, dtype=dtype, requires_grad=True)
    weight = torch.rand(8, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(weight)
    twin, scale = x.detach().clone().requires_grad_(), weight.clone().requires_grad_()
    pull = torch.randn(3, 5, 8, dtype=dtype)
    ours, theirs = norm(x), F.rms_norm(twin, (8,), scale, 0.5)
    ours.backward(pull)
    theirs.backward(pull)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(norm.weight.grad, scale.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [8, 24, 96, 128, 768])
def test_no_score_depends_on_whether_gradients_are_wanted(dim: int, dtype: torch.dtype) -> None:
    """Without them it is torch's own call: the same to the bit, so that validation and training agree."""
    torch.manual_seed(dim)
    norm = RMSNorm(dim, eps=1e-5).to(dtype)
    nn.init.normal_(norm.weight)
    for shape in ((1, 1), (8, 1), (3, 17)):
        x = torch.randn(*shape, dim, dtype=dtype)
        wanted = norm(x)
        with torch.inference_mode():
            assert torch.equal(norm(x), wanted)


def test_layer_norm_has_a_bias_when_asked() -> None:
    norms = [NORMS["layernorm"](4, 1e-5, bias) for bias in (True, False)]
    assert [isinstance(norm, nn.LayerNorm) and norm.bias is not None for norm in norms] == [True, False]
