"""Schedules against their closed forms."""

import math

import pytest
import torch

from manyheads.errors import UserError
from manyheads.optim.budget import Budget
from manyheads.optim.schedule import Course


def course(schedule: Course, steps: int) -> list[float]:
    return [schedule.factor(step, step / steps) for step in range(steps)]


def test_warm_up_then_cosine_is_the_textbook_formula() -> None:
    """Guards against a fall measured from step 0 instead of from the end of the warm-up."""
    got = course(Course(schedule="cosine", warmup_steps=4, floor=0.1), 20)
    want = [0.2, 0.4, 0.6, 0.8]
    want += [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 4) / 16)) for step in range(4, 20)]
    assert got == pytest.approx(want, rel=1e-12)
    assert got[4] == 1.0
    assert got[12] == pytest.approx(0.55, rel=1e-12)


def test_linear_falls_in_equal_steps_and_ends_at_the_floor() -> None:
    """Guards against a floor that is subtracted or ignored."""
    schedule = Course(schedule="linear", warmup_steps=2, floor=0.5)
    assert course(schedule, 10) == pytest.approx([1 / 3, 2 / 3, 1, 0.9375, 0.875, 0.8125, 0.75, 0.6875, 0.625, 0.5625])
    assert schedule.factor(10, 1.0) == 0.5
    assert schedule.factor(11, 1.0) == 0.5


def test_constant_stays_at_the_peak() -> None:
    """Guards against a fall where none was asked for; the floor has no meaning here."""
    assert course(Course(schedule="constant", warmup_steps=1), 4) == [0.5, 1.0, 1.0, 1.0]


def test_a_budget_of_minutes_gives_the_same_course_at_an_even_pace() -> None:
    """Guards against a schedule that knows only steps: at 3 s a step, 60 s are 20 steps."""
    schedule = Course(schedule="cosine", warmup_steps=4)
    by_time = [schedule.factor(step, step * 3.0 / 60.0) for step in range(20)]
    assert by_time == pytest.approx(course(schedule, 20), rel=1e-12)


def test_a_run_that_ends_within_its_warm_up_stays_in_range() -> None:
    """Guards against a division by zero when warm-up and run are equally long."""
    schedule = Course(schedule="linear", warmup_steps=5)
    assert schedule.factor(4, 0.8) == 5 / 6
    assert schedule.factor(5, 1.0) == 0.0
    assert Course(schedule="linear").factor(0, 0.0) == 1.0


SHAPES = ("cosine", "linear", "constant", "wsd", "inverse_sqrt", "one_cycle")


def test_wsd_stays_at_the_peak_and_falls_in_the_last_share_of_the_budget() -> None:
    """Guards against a fall measured from the warm-up's end: 2 steps up, the peak, 5 of 20 steps down to a half."""
    linear = Course(schedule="wsd", warmup_steps=2, floor=0.5, decay_fraction=0.25, decay_shape="linear")
    want = [1 / 3, 2 / 3, *[1.0] * 13, *(1 - 0.5 * k / 5 for k in range(5))]
    assert course(linear, 20) == pytest.approx(want, rel=1e-12)
    root = Course(schedule="wsd", warmup_steps=2, floor=0.5, decay_fraction=0.25)
    want[15:] = [0.5 + 0.5 * (1 - math.sqrt(k / 5)) for k in range(5)]
    assert course(root, 20) == pytest.approx(want, rel=1e-12)
    assert root.factor(20, 1.0) == linear.factor(20, 1.0) == 0.5


def test_a_wsd_whose_warm_up_lasts_into_its_decay_begins_to_fall_at_the_peak() -> None:
    """Guards against a jump down at the end of a long warm-up."""
    got = course(Course(schedule="wsd", warmup_steps=8, decay_fraction=0.5, decay_shape="linear"), 10)
    assert got == pytest.approx([*(k / 9 for k in range(1, 9)), 1.0, 0.5], rel=1e-12)


def test_inverse_sqrt_is_the_formula_of_the_transformer_paper() -> None:
    """Guards against an off-by-one at the peak: min(n^-0.5, n w^-1.5), over its largest value, for the n-th update."""
    warmup = 5
    want = [min(n**-0.5, n * warmup**-1.5) * warmup**0.5 for n in range(1, 31)]
    assert course(Course(schedule="inverse_sqrt", warmup_steps=warmup - 1), 30) == pytest.approx(want, rel=1e-12)
    other_budget = [Course(schedule="inverse_sqrt", warmup_steps=warmup - 1).factor(n, n / 300) for n in range(30)]
    assert other_budget == pytest.approx(want, rel=1e-12)


def test_one_cycle_is_torchs() -> None:
    """Guards against other phases: with a floor of 1 / 25e4, every factor is that of torch's OneCycleLR."""
    steps, warmup = 20, 6
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch's peak is the update with index pct_start * total - 1, its end the one with index total - 1
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps + 1, pct_start=(warmup + 1) / (steps + 1), cycle_momentum=False
    )
    want = []
    for _ in range(steps):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        oracle.step()
    end = optimizer.param_groups[0]["lr"]
    schedule = Course(schedule="one_cycle", warmup_steps=warmup, floor=1 / 25e4)
    assert course(schedule, steps) == pytest.approx(want, rel=1e-12)
    assert schedule.factor(steps, 1.0) == pytest.approx(end, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_warm_up_by_fraction_is_the_one_of_so_many_steps(shape: str) -> None:
    """Guards against a fraction of the wrong whole, and against a first step at 0."""
    by_steps = Course(schedule=shape, warmup_steps=4, floor=0.1)
    by_share = Course(schedule=shape, warmup_fraction=0.2, floor=0.1)
    got = [by_share.factor(step, step / 20, 20) for step in range(21)]
    assert got == pytest.approx([*course(by_steps, 20), by_steps.factor(20, 1.0)], rel=1e-12)
    assert got[0] > 0
    assert course(Course(schedule=shape, warmup_fraction=0.0), 5)[0] == 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_budget_gives_the_same_course_at_an_even_pace(shape: str) -> None:
    """Guards against a schedule that knows only steps: 24 steps of 50 tokens and 3 s each, as steps of two epochs too."""
    now = 0.0
    budgets = {
        "steps": Budget(max_steps=24),
        "epochs": Budget(max_epochs=2),
        "tokens": Budget(max_tokens=1200),
        "minutes": Budget(max_minutes=1.2, clock=lambda: now),
    }
    totals = {"steps": 24.0, "epochs": 24.0}
    for warmup in ({"warmup_steps": 6}, {"warmup_fraction": 0.25}):
        schedule = Course(schedule=shape, floor=0.1, **warmup)
        courses: dict[str, list[float]] = {}
        for name, budget in budgets.items():
            now, total = 0.0, totals.get(name, math.inf)
            budget.load_state_dict({})
            budget.start()
            got = []
            for step in range(25):
                got.append(schedule.factor(step, budget.fraction(step, total), total))
                now, budget.tokens = now + 3.0, budget.tokens + 50
            budget.stop()
            courses[name] = got
        assert courses["epochs"] == courses["steps"]
        # what a step is worth shows after the first one only
        first = 0.01 if "warmup_fraction" in warmup and shape != "one_cycle" else courses["steps"][0]
        for name in ("tokens", "minutes"):
            assert courses[name][0] == pytest.approx(first, rel=1e-12)
            assert courses[name][1:] == pytest.approx(courses["steps"][1:], rel=1e-9)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in ("constant", "inverse_sqrt")])
def test_every_fall_ends_at_its_floor(shape: str) -> None:
    """Guards against a floor that a shape does not honour."""
    schedule = Course(schedule=shape, warmup_steps=3, floor=0.25)
    assert schedule.factor(50, 1.0) == 0.25
    assert min(course(schedule, 50)[3:]) >= 0.25
    assert course(schedule, 50)[-1] < 0.4


def test_the_inverse_square_root_stops_at_its_floor() -> None:
    """Guards against a floor that shifts the paper's curve above it."""
    schedule = Course(schedule="inverse_sqrt", warmup_steps=3, floor=0.25)
    assert schedule.factor(15, 0.5) == 0.5
    assert schedule.factor(63, 0.7) == 0.25
    assert schedule.factor(400, 1.0) == 0.25


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"schedule": "cosin"},
            "optim.schedule=cosin is not one of cosine, linear, constant, wsd, inverse_sqrt, one_cycle. "
            "Did you mean 'cosine'?",
        ),
        ({"warmup_steps": -1}, "optim.warmup_steps=-1: set a number of at least 0."),
        ({"floor": 1.5}, "optim.floor=1.5: set a number from 0 to 1."),
        ({"warmup_fraction": 1.5}, "optim.warmup_fraction=1.5: set a number from 0 to 1."),
        ({"decay_fraction": -0.1}, "optim.decay_fraction=-0.1: set a number from 0 to 1."),
        ({"decay_shape": "sqrt"}, "optim.decay_shape=sqrt is not one of 1-sqrt, linear. Did you mean '1-sqrt'?"),
        (
            {"warmup_fraction": 0.1, "warmup_steps": 100},
            "optim.warmup_fraction=0.1 and optim.warmup_steps=100: a run has one warm-up. "
            "Set optim.warmup_steps=null or optim.warmup_fraction=null.",
        ),
        (
            {"schedule": "wsd", "warmup_fraction": 0.5, "decay_fraction": 0.6},
            "optim.warmup_fraction=0.5 and optim.decay_fraction=0.6 are more than the whole budget. "
            "Set them to 1 or less together.",
        ),
    ],
)
def test_a_wrong_setting_is_the_users_mistake(settings: dict, text: str) -> None:
    """Guards against a bad value that shows only in the loss."""
    with pytest.raises(UserError) as error:
        Course(**settings)
    assert str(error.value) == text
