"""Guards draws that depend on anything but the seed, the epoch and the row."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.data.altered import AlteredRows
from manyheads.data.batches import PackedRows
from manyheads.data.packing import Segments, single
from manyheads.data.sampler import ResumableBatchSampler

LENGTHS = np.array([3, 1, 4, 2, 4])


class Tokens:
    tokens = np.arange(20)


def keyed(batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
    """Shows the keys in the place of the labels."""
    batch["labels"] = torch.tensor([list(key) for key in keys])
    return batch


def rows(**settings) -> AlteredRows:
    starts = np.cumsum([0, *LENGTHS[:-1]])
    segments = Segments(starts, np.zeros(5, np.int64), LENGTHS, np.arange(5))
    plain = PackedRows(Tokens(), segments, single(LENGTHS), end_id=99, scoring=False)
    return AlteredRows(plain, keyed, key=(7, 8), **settings)


def test_a_row_is_named_by_its_epoch_and_its_number() -> None:
    data = rows()
    batch = data.__getitems__([0, 6, 14])
    assert batch["labels"].tolist() == [[7, 8, 0, 0], [7, 8, 1, 1], [7, 8, 2, 4]]
    assert batch["input_ids"].tolist() == [[4, 5, 6, 7], [10, 11, 12, 13], [3, 99, 99, 99]]
    assert "examples" not in batch
    assert len(data) == 5
    assert data.lengths.tolist() == [4, 4, 3, 2, 1]


def test_draws_come_again_after_so_many_epochs() -> None:
    assert rows(masks=2).__getitems__([0, 6, 14, 15])["labels"][:, 2].tolist() == [0, 1, 0, 1]


def test_what_is_scored_goes_by_the_example() -> None:
    """The order in which rows are scored draws nothing."""
    batch = rows(examples=single(LENGTHS).members).__getitems__([0, 4])
    assert batch["examples"].tolist() == [2, 1]
    assert batch["labels"].tolist() == [[7, 8, 0, 2], [7, 8, 0, 1]]


def test_a_row_that_becomes_several_keeps_its_example() -> None:
    def twice_or_not_at_all(batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        of = torch.tensor([1, 1])
        return Batch(input_ids=batch["input_ids"][of], labels=batch["labels"][of], examples=of)

    data = rows(examples=single(LENGTHS).members)
    data.alter = twice_or_not_at_all
    assert data.__getitems__([0, 4])["examples"].tolist() == [1, 1]
    trained = rows()
    trained.alter = twice_or_not_at_all
    assert "examples" not in trained.__getitems__([0, 4])


def test_a_batch_of_no_row_has_no_label() -> None:
    batch = rows(examples=np.arange(5)).__getitems__([])
    assert (batch["labels"] == IGNORE).all()
    assert batch["examples"].tolist() == [NO_EXAMPLE]


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_sampler_tells_the_epoch(shuffle: bool) -> None:
    """The rows of each epoch are those of a sampler that tells nothing, in any sizes of batches, and after a resume."""
    for world, batch_size in ((1, 2), (2, 1), (1, 5)):
        found: dict[int, list[int]] = {}
        for rank in range(world):
            settings = {"seed": 3, "shuffle": shuffle, "rank": rank, "world": world}
            plain = ResumableBatchSampler(5, batch_size, **settings)
            told = ResumableBatchSampler(5, batch_size, **settings, numbers_per_epoch=5)
            for epoch in range(3):
                plain.set_epoch(epoch)
                told.set_epoch(epoch)
                assert list(told) == [[row + 5 * epoch for row in batch] for batch in plain]
                found.setdefault(epoch, []).extend(row for batch in told for row in batch)
            told.load_state_dict(told.after(1))
            assert all(row >= 10 for batch in told for row in batch)
        assert {epoch: sorted(numbers) for epoch, numbers in found.items()} == {
            epoch: [5 * epoch + row for row in range(5)] for epoch in range(3)
        }
