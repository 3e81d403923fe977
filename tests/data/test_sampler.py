"""The order of rows: the same for everybody, each row once, from any place on."""

import json

import numpy as np
import pytest

from manyheads.data.sampler import ResumableBatchSampler as Sampler


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


def test_an_epoch_has_each_row_once_and_epochs_differ():
    """Guards: rows drawn with replacement, and the same order again in the next epoch."""
    sampler = Sampler(103, 8, seed=1, shuffle=True)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 13
        assert [len(batch) for batch in batches] == [8] * 12 + [7]
        assert sorted(flat(batches)) == list(range(103))
        epochs.append(flat(batches))
    assert epochs[0] == epochs[2] != epochs[1]
    assert epochs[0] != list(range(103))
    assert flat(list(Sampler(103, 8, seed=2, shuffle=True))) != epochs[0]


def test_in_order_without_shuffling():
    """Guards: a scoring order that moves."""
    sampler = Sampler(5, 2, seed=1, shuffle=False)
    sampler.set_epoch(3)
    assert list(sampler) == [[0, 1], [2, 3], [4]]
    assert list(sampler) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_take_the_rows_that_one_would(world: int):
    """Guards: rows that two ranks share, and another order on more ranks."""
    alone = list(Sampler(60, 4 * world, seed=1, shuffle=True))
    ranks = [list(Sampler(60, 4, seed=1, shuffle=True, rank=rank, world=world)) for rank in range(world)]
    for batch, *shares in zip(alone, *ranks, strict=True):
        assert sorted(batch) == sorted(flat(shares))


@pytest.mark.parametrize("num_rows", range(1, 26))
def test_ranks_at_an_epochs_end(num_rows: int):
    """Guards: ranks that wait for one another since one has a batch more; a row that is dropped or comes twice."""
    world = 4
    for shuffle in (True, False):
        ranks = [Sampler(num_rows, 3, seed=1, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
        assert len({len(list(sampler)) for sampler in ranks}) == 1
        assert all(len(sampler) == len(list(sampler)) for sampler in ranks)
        assert sorted(flat([batch for sampler in ranks for batch in sampler])) == list(range(num_rows))


def test_drop_last_leaves_out_what_does_not_fill_a_global_batch():
    """Guards: a ragged last batch where none is wanted."""
    for rank in range(2):
        sampler = Sampler(15, 3, seed=1, shuffle=False, rank=rank, world=2, drop_last=True)
        assert [len(batch) for batch in sampler] == [3, 3]
        assert len(sampler) == 2


@pytest.mark.parametrize("taken", range(8))
def test_a_resumed_epoch_goes_on_at_the_next_batch(taken: int):
    """Guards: the first batch after a resume being the last one before it, or one too far. Compared with what comes next."""
    whole = Sampler(50, 7, seed=1, shuffle=True)
    whole.set_epoch(2)
    state = json.loads(json.dumps(whole.after(taken)))
    assert state == {"epoch": 2, "rows": min(7 * taken, 50), "batches": taken}
    resumed = Sampler(50, 7, seed=1, shuffle=True)
    resumed.load_state_dict(state)
    resumed.set_epoch(2)
    assert list(resumed) == list(whole)[taken:]
    assert len(resumed) == len(whole) == 8
    resumed.set_epoch(3)
    whole.set_epoch(3)
    assert list(resumed) == list(whole)


@pytest.mark.parametrize(("batch_size", "world"), [(3, 1), (10, 1), (5, 2), (2, 3)])
def test_a_resume_with_another_batch_size_takes_each_row_once(batch_size: int, world: int):
    """Guards: rows skipped or seen twice when a run goes on with other batches or on other devices."""
    before = Sampler(48, 6, seed=1, shuffle=True)
    seen = flat(list(before)[:4])
    for rank in range(world):
        sampler = Sampler(48, batch_size, seed=1, shuffle=True, rank=rank, world=world)
        sampler.load_state_dict(before.after(4))
        seen += flat(list(sampler))
        # Lightning has counted 4 batches, and must neither stop early now nor cut the epochs to come
        assert len(sampler) >= 4 + len(list(sampler))
        rest = len(sampler)
        sampler.set_epoch(1)
        assert len(sampler) == len(list(sampler)) <= rest
    assert sorted(seen) == list(range(48))


LENGTHS = np.random.default_rng(0).integers(1, 100, size=503)


def by_length(batch_size: int = 6, world: int = 1, rank: int = 0, lengths: np.ndarray | None = LENGTHS) -> Sampler:
    return Sampler(503, batch_size, seed=1, shuffle=True, rank=rank, world=world, lengths=lengths)


def padded(batches: list[list[int]]) -> int:
    """Positions of all batches together, each as wide as its longest row."""
    return sum(len(batch) * int(LENGTHS[batch].max()) for batch in batches)


@pytest.mark.parametrize(("batch_size", "world"), [(1, 1), (6, 1), (3, 2), (503, 1), (1000, 1)])
def test_rows_of_like_lengths_stand_together(batch_size: int, world: int):
    """Guards: a row lost or doubled by sorting, the same batches in each epoch, ranks that sort by themselves."""
    ranks = [by_length(batch_size, world, rank) for rank in range(world)]
    epochs = []
    for epoch in (0, 1, 0):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        batches = [flat(list(together)) for together in zip(*ranks, strict=True)]
        assert len(set(flat(batches))) == len(flat(batches)) > 503 - world
        epochs.append(batches)
    assert epochs[0] == epochs[2] != epochs[1]
    if 1 < batch_size < 503:
        plain = list(by_length(batch_size * world, lengths=None))
        assert padded(epochs[0]) - LENGTHS.sum() < 0.2 * (padded(plain) - LENGTHS.sum())
        assert {frozenset(batch) for batch in epochs[0]} != {frozenset(batch) for batch in epochs[1]}


def test_without_shuffling_lengths_change_nothing():
    """Guards: a run that asked for the rows in order."""
    sampler = Sampler(503, 6, seed=1, shuffle=False, lengths=LENGTHS)
    assert flat(list(sampler)) == list(range(503))


@pytest.mark.parametrize("taken", [0, 1, 40, 83, 84])
def test_a_resume_among_like_lengths_goes_on_at_the_next_batch(taken: int):
    """Guards: a place that does not say how the epoch was sorted. The state goes through JSON, as through a checkpoint."""
    whole = by_length()
    whole.set_epoch(2)
    resumed = by_length()
    resumed.load_state_dict(json.loads(json.dumps(whole.after(taken))))
    assert list(resumed) == list(whole)[taken:]
    again = json.loads(json.dumps(resumed.after(0)))
    assert again == whole.after(taken)
    for sampler in (resumed, whole):
        sampler.set_epoch(3)
    assert list(resumed) == list(whole)


@pytest.mark.parametrize(("batch_size", "world"), [(5, 1), (64, 1), (3, 2), (2, 7)])
def test_a_resume_among_like_lengths_with_another_batch_size_takes_each_row_once(batch_size: int, world: int):
    """Guards: an order that follows the new batch size in the middle of an epoch. The next epoch follows it."""
    before = by_length()
    seen = flat(list(before)[:40])
    rest = []
    for rank in range(world):
        sampler = by_length(batch_size, world, rank)
        sampler.load_state_dict(before.after(40))
        rest += flat(list(sampler))
        again = by_length(batch_size, world, rank)  # stopped a second time
        again.load_state_dict(sampler.after(2))
        assert list(again) == list(sampler)[2:]
        sampler.set_epoch(1)
        fresh = by_length(batch_size, world, rank)
        fresh.set_epoch(1)
        assert list(sampler) == list(fresh)
    assert len(set(rest)) == len(rest) > 503 - 240 - world
    assert not set(rest) & set(seen)


def test_an_epoch_that_was_begun_without_groups_ends_without_them():
    """Guards: rows that come twice when a run goes on from a checkpoint of a version that did not sort."""
    old = by_length(lengths=None)
    seen = flat(list(old)[:40])
    state = old.after(40)
    assert "group" not in state
    resumed = by_length()
    resumed.load_state_dict(state)
    assert sorted(seen + flat(list(resumed))) == list(range(503))
