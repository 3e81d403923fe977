import pytest
import torch

from manyheads.errors import UserError
from manyheads.model.checks import check_divides, check_fraction, check_positive, check_row


def message(check, *arguments: object) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        check(*arguments)
    return str(caught.value)


def test_nearest_values_that_work_are_named_for_both_keys() -> None:
    assert message(check_divides, "a", 130, "b", 4) == (
        "a=130 does not divide by b=4: set a to 128 or 132, or b to 2 or 5 or 10."
    )


def test_a_value_below_its_divisor_names_no_zero() -> None:
    assert message(check_divides, "a", 3, "b", 8) == "a=3 does not divide by b=8: set a to 8, or b to 1 or 3."


def test_bounds() -> None:
    check_divides("a", 128, "b", 4)
    check_fraction("a", 0.0)
    check_positive("a", 1e-12)
    assert "less than 1" in message(check_fraction, "a", 1.0)
    assert "above 0" in message(check_positive, "a", 0.0)
    assert message(check_positive, "a", -1.0) == "a=-1.0: set a number above 0."
    assert message(check_fraction, "a", 2.0) == "a=2.0: set a number from 0 to less than 1."


def test_a_row_that_is_longer_than_the_positions() -> None:
    check_row(None, 9), check_row(9, 9), check_row(9, 10, positions=torch.zeros(1, 10))
    with pytest.raises(UserError) as caught:
        check_row(9, 10, what="source", key="the sources' length")
    assert str(caught.value) == (
        "model.max_positions=9 is less than a source of 10 tokens: set the sources' length to at most 9, or train a "
        "model with more positions."
    )
