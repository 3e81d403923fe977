"""Whether a network of these numbers can be built at all, checked before anything is made; and whether a row fits it."""

from __future__ import annotations

from torch import Tensor

from manyheads.errors import UserError


def check_fraction(key: str, value: float) -> None:
    """Raises UserError unless 0 <= value < 1."""
    if not (_is_number(value) and 0 <= value < 1):
        raise UserError(f"{key}={value}: set a number from 0 to less than 1.")


def check_positive(key: str, value: float) -> None:
    """Raises UserError unless value is a number above 0."""
    if not (_is_number(value) and value > 0):
        raise UserError(f"{key}={value}: set a number above 0.")


def check_divides(key: str, value: int, by_key: str, by: int) -> None:
    """Raises UserError unless `by` divides `value`; names the nearest values that work, for both keys."""
    if value % by == 0:
        return
    multiples = [number for number in (value // by * by, -(-value // by) * by) if number]
    divisors = [number for number in range(1, value + 1) if value % number == 0]
    near = sorted(sorted(divisors, key=lambda number: max(number / by, by / number))[:3])
    raise UserError(
        f"{key}={value} does not divide by {by_key}={by}: set {key} to {_or(multiples)}, or {by_key} to {_or(near)}."
    )


def check_row(
    max_positions: int | None,
    length: int,
    positions: Tensor | None = None,
    *,
    what: str = "row",
    key: str = "task.seq_len",
) -> None:
    """Raises UserError when rows of `length` tokens are longer than a network's positions; those that bring `positions` may
    be padded on the left, so that their length says nothing."""
    if max_positions is not None and positions is None and length > max_positions:
        raise UserError(
            f"model.max_positions={max_positions} is less than a {what} of {length} tokens: "
            f"set {key} to at most {max_positions}, or train a model with more positions."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _or(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
