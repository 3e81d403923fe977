"""The budget, with a clock that the test turns."""

import math

import pytest

from manyheads.errors import UserError
from manyheads.optim.budget import Budget


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_steps_and_epochs_count_by_the_steps_they_come_to() -> None:
    """Guards against a run that ends a step early or late."""
    steps = Budget(max_steps=40)
    assert [steps.fraction(n, 40.0) for n in (0, 10, 39, 40, 41)] == [0.0, 0.25, 0.975, 1.0, 1.0]
    assert not steps.exhausted(39, 40.0)
    assert steps.exhausted(40, 40.0)
    epochs = Budget(max_epochs=2)
    assert epochs.fraction(5, 20.0) == 0.25
    assert epochs.exhausted(20, 20.0)


def test_tokens_end_a_run_that_steps_do_not() -> None:
    """Guards against a schedule that stands still when tokens are the limit."""
    budget = Budget(max_tokens=1000)
    budget.tokens += 250
    assert budget.fraction(7, math.inf) == 0.25
    budget.tokens = 1000
    assert budget.exhausted(8, math.inf)


def test_minutes_are_those_of_this_run_and_of_the_one_it_continues() -> None:
    """Guards against a resumed run that starts its clock anew, and against time that passes before the start."""
    clock = Clock()
    first = Budget(max_minutes=2, clock=clock)
    clock.now += 500
    assert first.fraction(0, math.inf) == 0.0
    first.start()
    clock.now += 30
    first.start()
    assert first.fraction(1, math.inf) == 0.25
    state = first.state_dict()
    assert state == {"seconds": 30.0, "tokens": 0}

    second = Budget(max_minutes=2, clock=clock)
    second.start()
    clock.now += 10
    second.load_state_dict(state)
    clock.now += 60
    assert second.fraction(1, math.inf) == 0.75
    second.stop()
    clock.now += 600
    assert second.seconds == 90.0
    assert not second.exhausted(1, math.inf)
    second.start()
    clock.now += 30
    assert second.exhausted(1, math.inf)


def test_the_limit_nearest_to_its_end_counts() -> None:
    """Guards against the last limit overriding the others."""
    budget = Budget(max_steps=100, max_tokens=1000)
    budget.tokens = 900
    assert budget.fraction(50, 100.0) == 0.9
    budget.tokens = 100
    assert budget.fraction(50, 100.0) == 0.5


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_steps": 0}, "trainer.max_steps=0: set a whole number of at least 1."),
        ({"max_steps": -2}, "trainer.max_steps=-2: set a whole number of at least 1."),
        ({"max_epochs": 0}, "trainer.max_epochs=0: set a whole number of at least 1."),
        ({"max_tokens": 1.5}, "trainer.max_tokens=1.5: set a whole number of at least 1."),
        ({"max_minutes": 0}, "trainer.max_minutes=0: set a number above 0."),
        ({"max_minutes": "soon"}, "trainer.max_minutes=soon: set a number."),
        ({"max_steps": -1}, "trainer.max_steps=null: the run would never end. Set"),
        ({}, "trainer.max_steps=null: the run would never end. Set"),
    ],
)
def test_a_wrong_limit_is_the_users_mistake(limits: dict, text: str) -> None:
    """Guards against a run that ends at once, or never."""
    with pytest.raises(UserError) as error:
        Budget(**limits)
    assert str(error.value).startswith(text)


def test_minus_one_is_no_limit() -> None:
    """Guards against Lightning's own word for no limit being refused."""
    assert Budget(max_steps=-1, max_epochs=3).max_steps is None


def test_seconds_that_ranks_agreed_on_count_until_the_next_time() -> None:
    """Guards against learning rates that differ between ranks: clocks that say 30 s and 33 s give one fraction."""
    fractions = []
    for now in (30.0, 33.0):
        budget = Budget(max_minutes=1, clock=lambda now=now: now)
        budget._started = 0.0
        budget.hold(30.0)
        fractions.append(budget.fraction(3, math.inf))
        assert budget.seconds == now
    assert fractions == [0.5, 0.5]
