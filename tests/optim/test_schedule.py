"""Schedules against their closed forms."""

import math

import pytest

from manyheads.errors import UserError
from manyheads.optim.schedule import Schedule


def course(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.factor(step, step / steps) for step in range(steps)]


def test_warm_up_then_cosine_is_the_textbook_formula() -> None:
    """Guards against a fall measured from step 0 instead of from the end of the warm-up."""
    got = course(Schedule(shape="cosine", warmup_steps=4, floor=0.1), 20)
    want = [0.2, 0.4, 0.6, 0.8]
    want += [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 4) / 16)) for step in range(4, 20)]
    assert got == pytest.approx(want, rel=1e-12)
    assert got[4] == 1.0
    assert got[12] == pytest.approx(0.55, rel=1e-12)


def test_linear_falls_in_equal_steps_and_ends_at_the_floor() -> None:
    """Guards against a floor that is subtracted or ignored."""
    schedule = Schedule(shape="linear", warmup_steps=2, floor=0.5)
    assert course(schedule, 10) == pytest.approx([1 / 3, 2 / 3, 1, 0.9375, 0.875, 0.8125, 0.75, 0.6875, 0.625, 0.5625])
    assert schedule.factor(10, 1.0) == 0.5
    assert schedule.factor(11, 1.0) == 0.5


def test_constant_stays_at_the_peak() -> None:
    """Guards against a fall where none was asked for; the floor has no meaning here."""
    assert course(Schedule(shape="constant", warmup_steps=1), 4) == [0.5, 1.0, 1.0, 1.0]


def test_a_budget_of_minutes_gives_the_same_course_at_an_even_pace() -> None:
    """Guards against a schedule that knows only steps: at 3 s a step, 60 s are 20 steps."""
    schedule = Schedule(shape="cosine", warmup_steps=4)
    by_time = [schedule.factor(step, step * 3.0 / 60.0) for step in range(20)]
    assert by_time == pytest.approx(course(schedule, 20), rel=1e-12)


def test_a_run_that_ends_within_its_warm_up_stays_in_range() -> None:
    """Guards against a division by zero when warm-up and run are equally long."""
    schedule = Schedule(shape="linear", warmup_steps=5)
    assert schedule.factor(4, 0.8) == 5 / 6
    assert schedule.factor(5, 1.0) == 0.0
    assert Schedule(shape="linear").factor(0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"shape": "cosin"}, "optim.schedule=cosin is not one of cosine, linear, constant. Did you mean 'cosine'?"),
        ({"warmup_steps": -1}, "optim.warmup_steps=-1: set a number of at least 0."),
        ({"floor": 1.5}, "optim.floor=1.5: set a number from 0 to 1."),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against a bad value that shows only in the loss."""
    with pytest.raises(UserError) as error:
        Schedule(**settings)
    assert str(error.value) == text
