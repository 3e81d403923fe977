"""Guards products that another library makes: they must be those of torch, in every precision and shape."""

import pytest
import torch

from manyheads.decoding.linear import LARGE, linear


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_large_matrices_give_the_same_products(rows: int) -> None:
    """They are above the size from which another library makes the product."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, 1, 512), torch.randn(1024, 512), torch.randn(1024)
    assert weight.numel() >= LARGE
    wide = (x.double() @ weight.double().t() + bias).float()
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias), wide, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(linear(x, weight), wide - bias, rtol=1e-5, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16
        assert linear(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16


def test_a_product_that_is_asked_for_a_gradient_has_one() -> None:
    x, weight = torch.randn(2, 512), torch.randn(1024, 512, requires_grad=True)
    linear(x, weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(1024, 512))
