"""Guards: shares of steps that are not the weights', a step of two members, a resume that takes other batches."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.batch import NO_EXAMPLE, Batch
from manyheads.data.loader import ResumableLoader
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.turns import MemberBatches, TurnsLoader, turns


class Numbers:
    """Rows that are numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Any) -> Batch:
        return Batch(input_ids=torch.tensor(indices))


SIZES = {"a": 10, "b": 4}


def loader(
    weights: list[float] | None = None, *, micro_batches: int = 1, batch_size: int = 2, world: int = 1
) -> TurnsLoader:
    members = {
        name: ResumableLoader(
            Numbers(size), ResumableBatchSampler(size, batch_size, seed=3, shuffle=True, world=world), made_of=name
        )
        for name, size in SIZES.items()
    }
    steps = [-(-len(one) // micro_batches) for one in members.values()]
    return TurnsLoader(members, turns(steps, weights), micro_batches=micro_batches, made_of="all")


def taken(found: Any) -> list[tuple[str, list[int]]]:
    return [(batch["member"], batch["input_ids"].tolist()) for batch in found]


def epochs(made: TurnsLoader, numbers: Any) -> list[tuple[str, list[int]]]:
    found = []
    for epoch in numbers:
        made.set_epoch(epoch)
        found += taken(made)
    return found


def test_without_weights_an_epoch_is_every_row_of_every_member_once() -> None:
    """5 batches of a and 2 of b, by hand: b has its turns at (k + 1/2) / (2/7) = 1.75 and 5.25."""
    made = loader()
    assert len(made) == 7
    first, second = (epochs(made, [epoch]) for epoch in (0, 1))
    for found in (first, second):
        assert [name for name, _ in found] == ["a", "b", "a", "a", "a", "b", "a"]
        for name, size in SIZES.items():
            assert sorted(row for member, rows in found if member == name for row in rows) == list(range(size))
    assert first != second


@pytest.mark.parametrize("weights", [[1.0, 3.0], [0.25, 0.75]])
def test_weights_are_shares_of_the_steps_and_a_used_up_member_begins_anew(weights: list[float]) -> None:
    made = loader(weights)
    found = epochs(made, range(8))
    assert len(found) == 56
    assert [name for name, _ in found].count("b") == 5 * 8  # 7 x 3/4, rounded in each epoch to within a step
    rows = [row for name, rows in found if name == "b" for row in rows]
    assert all(sorted(rows[i : i + 4]) == [0, 1, 2, 3] for i in range(0, len(rows), 4))
    rows = [row for name, rows in found if name == "a" for row in rows]
    assert sorted(rows[:10]) == sorted(rows[10:20]) == list(range(10))
    assert made.passes() == {"a": 3.2, "b": 20.0}


def test_a_member_of_no_weight_has_no_turn() -> None:
    assert {name for name, _ in epochs(loader([2.0, 0.0]), range(3))} == {"a"}


@pytest.mark.parametrize("micro_batches", [2, 3])
def test_all_micro_batches_of_a_step_are_of_one_member(micro_batches: int) -> None:
    found = epochs(loader([1.0, 1.0], micro_batches=micro_batches), range(4))
    steps = [found[i : i + micro_batches] for i in range(0, len(found), micro_batches)]
    assert all(len({name for name, _ in step}) == 1 for step in steps)
    names = [step[0][0] for step in steps]
    assert abs(names.count("a") - names.count("b")) <= 4


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 5, 7, 11])
def test_a_resumed_loader_goes_on_with_the_next_batch(stop: int, micro_batches: int) -> None:
    """Stops in mid-epoch of the mixture and of a member, at the end of either, and in later epochs."""
    whole = epochs(loader([1.0, 2.0], micro_batches=micro_batches), range(5))
    made = loader([1.0, 2.0], micro_batches=micro_batches)
    of = len(made) // micro_batches
    epoch, step = divmod(stop, of)
    before = epochs(made, range(epoch))
    made.set_epoch(epoch)
    before += taken(itertools.islice(made, step * micro_batches))
    state = made.state_dict()
    again = loader([1.0, 2.0], micro_batches=micro_batches)
    length = len(again)
    again.load_state_dict(state)
    assert len(again) == length
    assert before + taken(again) + epochs(again, range(epoch + 1, 5)) == whole


def test_a_place_can_be_loaded_without_pickle(tmp_path: Any) -> None:
    made = loader()
    taken(itertools.islice(made, 3))
    torch.save(made.state_dict(), tmp_path / "place.pt")
    assert torch.load(tmp_path / "place.pt", weights_only=True) == made.state_dict()


def test_with_other_batches_as_many_steps_are_left_as_were_and_no_row_comes_twice() -> None:
    made = loader()
    before = taken(itertools.islice(made, 4))
    again = loader(batch_size=1)  # 14 steps, of which 8 stand for the 4 of 7
    again.load_state_dict(made.state_dict())
    assert len(again) == 4 + 14 - 8
    after = taken(again)
    assert len(after) == 6
    rows = [row for name, rows in before + after if name == "a" for row in rows]
    assert len(rows) == len(set(rows))


def test_a_member_whose_rows_are_others_begins_anew_and_the_others_go_on() -> None:
    made = loader()
    taken(itertools.islice(made, 3))
    state = made.state_dict()
    state["members"]["a"]["made_of"] = "other rows"
    made.load_state_dict(state)
    places = {name: member.state_dict()["rows"] for name, member in made.members.items()}
    assert places == {"a": 0, "b": 2}


def test_examples_of_two_members_never_have_one_number() -> None:
    batch = Batch(input_ids=torch.zeros(3, 1), examples=torch.tensor([0, 2, NO_EXAMPLE]))
    (found,) = MemberBatches([batch], member="b", first=1000)
    assert found["member"] == "b"
    assert found["examples"].tolist() == [1000, 1002, NO_EXAMPLE]
    assert batch["examples"].tolist() == [0, 2, NO_EXAMPLE]
    assert len(MemberBatches([batch], member="b", first=0)) == 1


def test_turns_are_counted_by_steps() -> None:
    assert np.bincount(turns([5, 2], None)).tolist() == [5, 2]
    assert np.bincount(turns([5, 2], [1.0, 1.0])).tolist() in ([4, 3], [3, 4])
    assert np.bincount(turns([5, 2], [0.0, 1.0]), minlength=2).tolist() == [0, 2]
