"""How the modules of pydocs go to train, validation and test: whole, and by the hash of their names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from manyheads.data.source import SPLITS

Split = Callable[[Mapping[str, int], float], dict[str, list[str]]]
"""Names with their sizes, and a fraction, to the names of each split."""


def split_by_name(sizes: Mapping[str, int], fraction: float) -> dict[str, list[str]]:
    """Names to train, validation and test, whole; the last two get at most `fraction` of the sum of sizes each.

    Names come in the order of their hash, and one that would overfill a split goes to the next.
    """
    goal = fraction * sum(sizes.values())
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    filled = dict.fromkeys(SPLITS, 0)
    for name in _order(sizes):
        fits = [split for split in ("validation", "test") if filled[split] + sizes[name] <= goal]
        split = fits[0] if fits else "train"
        splits[split].append(name)
        filled[split] += sizes[name]
    return splits


def split_evenly(sizes: Mapping[str, int], fraction: float) -> dict[str, list[str]]:
    """As `split_by_name`, but a name goes to the emptier of validation and test, so that both have some of a few names.

    One that stays below half the goal gets the name more whose size is nearest to what it lacks, so of three names each
    split has one, however large they are.
    """
    goal = fraction * sum(sizes.values())
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    filled = dict.fromkeys(SPLITS, 0)
    for name in _order(sizes):
        emptier = min(("validation", "test"), key=lambda split: filled[split])
        split = emptier if filled[emptier] + sizes[name] <= goal else "train"
        splits[split].append(name)
        filled[split] += sizes[name]
    for split in ("validation", "test"):
        lacking = goal - filled[split]
        if lacking > goal / 2 and len(splits["train"]) > 1:
            nearest = min(splits["train"], key=lambda name: abs(sizes[name] - lacking))
            splits["train"].remove(nearest)
            splits[split].append(nearest)
    return splits


def split_groups(groups: Mapping[str, Mapping[str, int]], fraction: float, split: Split) -> dict[str, list[str]]:
    """The names of all groups, each group split by itself."""
    found = [split(sizes, fraction) for sizes in groups.values()]
    return {part: [name for splits in found for name in splits[part]] for part in SPLITS}


def _order(names: Mapping[str, int]) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
