from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console

from manyheads.callbacks.spikes import LEAST, WINDOW, SkipSpikes
from manyheads.errors import UserError


def make(factor: float = 3.0) -> SkipSpikes:
    return SkipSpikes(console=Console(file=io.StringIO(), width=200), factor=factor)


def taken(spikes: SkipSpikes, *norms: float) -> list[bool]:
    return [spikes.accepts(torch.tensor(norm)) for norm in norms]


def test_a_norm_above_the_factor_times_the_median_is_skipped_and_counted() -> None:
    # guards: a mean, which one spike would lift, and >= for >: the median of ten 1 and ten 3 is 2; with 6.1 it is 3
    spikes = make()
    assert all(taken(spikes, *[1.0, 3.0] * (LEAST // 2)))
    assert taken(spikes, 6.1, 9.0, 1.0) == [False, True, True]
    assert spikes.skipped == 1


def test_the_first_norms_are_not_judged_unless_they_are_not_finite() -> None:
    # guards: a run that skips its beginning, and a norm that is not finite and poisons the median
    spikes = make()
    assert taken(spikes, 1.0, 1000.0, math.nan, math.inf) == [True, True, False, False]
    assert spikes.skipped == 2
    assert all(taken(spikes, *[1.0] * (LEAST - 2)))
    assert taken(spikes, 3.5, 2.5) == [False, True]


def test_a_lasting_change_is_borne_after_half_a_window() -> None:
    # guards: a median that skipped norms cannot move, so that nothing is ever learned again
    spikes = make()
    taken(spikes, *[1.0] * WINDOW)
    got = taken(spikes, *[10.0] * WINDOW)
    # of 100 norms, 49 of 10 leave a median of 1, 50 one of 5.5
    assert got == [False] * 50 + [True] * 50


def test_a_window_without_a_step_ends_the_run() -> None:
    # guards: a run that goes on for hours with gradients that are not finite
    spikes = make()
    taken(spikes, *[math.nan] * (WINDOW - 1))
    with pytest.raises(UserError) as error:
        spikes.accepts(torch.tensor(math.nan))
    assert str(error.value) == (
        "callbacks.skip_spikes=3.0: 100 steps in a row were skipped (the last gradient norm was nan), so nothing is "
        "learned any more.\nTry a smaller optim.lr or a longer warm-up."
    )


def test_goes_on_from_a_checkpoint() -> None:
    # guards: a resumed run that judges by a shorter history
    whole, first, second = make(), make(), make()
    norms = [1.0 + 0.1 * (n % 7) for n in range(40)] + [9.0, math.inf]
    more = [1.0, 4.0, 3.4, 9.0, 1.2]
    taken(whole, *norms)
    taken(first, *norms)
    second.load_state_dict(first.state_dict())
    assert taken(whole, *more) == taken(second, *more)
    assert whole.state_dict() == second.state_dict()
    assert whole.skipped > 2


def test_the_end_says_how_many() -> None:
    # guards: a count that nobody reads, and a line where nothing happened
    class Trainer:
        global_step, is_global_zero = 1200, True

    spikes = make()
    spikes.on_train_end(Trainer(), None)  # type: ignore[arg-type]
    assert spikes.console.file.getvalue() == ""  # type: ignore[attr-defined]
    spikes.skipped = 3
    spikes.on_train_end(Trainer(), None)  # type: ignore[arg-type]
    assert spikes.console.file.getvalue() == (  # type: ignore[attr-defined]
        "3 of 1,200 steps were skipped: their gradient norm was above 3 times the median, or not finite.\n"
    )
