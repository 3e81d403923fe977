"""Guards: settings that torch would take without a word or refuse in words of its own, and kernels that do not fit."""

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from manyheads.errors import UserError
from manyheads.optim.base import can_fuse, check_at_least_zero, check_betas, leave_unscaling_outside


def test_betas_become_a_pair_of_floats() -> None:
    """A yaml gives a list, and torch keeps what it is given in the checkpoint."""
    assert check_betas([0, 0.95]) == (0.0, 0.95)
    assert all(type(beta) is float for beta in check_betas([0, 0.95]))


@pytest.mark.parametrize("betas", [[0.9], [0.9, 0.95, 0.99], [0.9, 1.0], [-0.1, 0.9], ["a", 0.9], []])
def test_other_betas_are_named(betas: list[Any]) -> None:
    with pytest.raises(UserError) as caught:
        check_betas(betas)
    assert str(caught.value) == f"optim.betas={betas}: set two numbers of at least 0 and below 1."


def test_the_setting_below_zero_is_named() -> None:
    check_at_least_zero(lr=0, eps=1e-8)
    with pytest.raises(UserError, match=r"^optim\.eps=-1: set a number of at least 0\.$"):
        check_at_least_zero(lr=0.1, eps=-1)


def test_fused_kernels_take_real_numbers_on_a_device() -> None:
    real, elsewhere = Parameter(torch.zeros(2)), Parameter(torch.zeros(2, device="meta"))
    whole = Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    assert can_fuse([real])
    assert not can_fuse([real, elsewhere])
    assert not can_fuse([real, whole])
    torch.optim.AdamW([real], fused=True)  # what it is asked for


def test_gradients_can_be_clipped_with_a_fused_optimizer_under_float16() -> None:
    """Lightning refuses to clip for an optimizer that says it unscales by itself."""
    parameter = Parameter(torch.zeros(2))
    fused = torch.optim.AdamW([parameter], fused=True)
    assert fused._step_supports_amp_scaling  # else this guards nothing
    assert leave_unscaling_outside(fused) is fused
    assert not fused._step_supports_amp_scaling
