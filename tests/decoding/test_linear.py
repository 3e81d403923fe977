"""Guards products that another library makes: they must be those of torch, in every precision and shape."""

from pathlib import Path

import pytest
import torch

from manyheads.decoding.linear import LARGE, _is_intel, linear


@pytest.mark.parametrize("intel", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_large_matrices_give_the_same_products(rows: int, intel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are above the size from which another library makes the product, but a single one on Intel's processors."""
    monkeypatch.setattr("manyheads.decoding.linear._MKLS_OWN", intel)
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


def test_whose_processor_it_is(tmp_path: Path) -> None:
    """Only speed depends on it: where nobody says, it is another one's."""
    (tmp_path / "intel").write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n")
    (tmp_path / "amd").write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    assert [_is_intel(tmp_path / name) for name in ("intel", "amd", "none")] == [True, False, False]
