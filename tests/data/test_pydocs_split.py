"""Guards: a name in two splits, a split that outgrows its share, a group that a split has nothing of."""

import itertools

import pytest

from manyheads.data.pydocs_split import split_by_name, split_evenly, split_groups


def test_split_by_name_is_whole_and_keeps_to_the_goal() -> None:
    sizes = {f"m{i}": i for i in range(1, 101)}
    found = split_by_name(sizes, 0.1)
    assert sorted(itertools.chain(*found.values())) == sorted(sizes)
    for split in ("validation", "test"):
        assert 0.09 * 5050 < sum(sizes[name] for name in found[split]) <= 505
    assert split_by_name(dict(reversed(sizes.items())), 0.1) == found


def test_an_even_split_fills_validation_and_test_alike() -> None:
    sizes = {f"m{i}": i for i in range(1, 101)}
    found = split_evenly(sizes, 0.1)
    assert sorted(itertools.chain(*found.values())) == sorted(sizes)
    for split in ("validation", "test"):
        assert 0.08 * 5050 < sum(sizes[name] for name in found[split]) <= 505
    assert split_evenly(dict(reversed(sizes.items())), 0.1) == found


@pytest.mark.parametrize(
    "sizes", [{"a": 90, "b": 5, "c": 5}, {"a": 100, "b": 100, "c": 100}, {"a": 1, "b": 98, "c": 1}]
)
def test_three_names_are_in_a_split_each_however_large(sizes: dict[str, int]) -> None:
    found = split_evenly(sizes, 0.05)
    assert {split: len(names) for split, names in found.items()} == {"train": 1, "validation": 1, "test": 1}
    assert sorted(itertools.chain(*found.values())) == ["a", "b", "c"]


def test_a_split_with_next_to_nothing_gets_what_is_nearest_to_its_share() -> None:
    found = split_evenly({"tiny": 1, "small": 60, "medium": 80, "large": 859}, 0.05)
    assert found["train"] == ["large"]
    assert sorted(found["validation"] + found["test"]) == ["medium", "small", "tiny"]
    assert all(found.values())


def test_groups_are_split_each_by_itself() -> None:
    groups = {"a": {f"a{i}": 1 for i in range(20)}, "b": {f"b{i}": 100 for i in range(20)}}
    found = split_groups(groups, 0.1, split_evenly)
    for split in ("validation", "test"):
        assert sorted(name[0] for name in found[split]) == ["a", "a", "b", "b"]
    alone = split_evenly(groups["a"], 0.1)
    assert found["train"][: len(alone["train"])] == alone["train"]
