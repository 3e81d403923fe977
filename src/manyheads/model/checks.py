"""Whether a network of these numbers can be built at all; checked before anything is made."""

from __future__ import annotations

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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _or(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
