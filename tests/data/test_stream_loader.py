"""Batches of a stream: what comes next after a resume is what would have come next, exactly."""

import io
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.batch import IGNORE
from manyheads.data.files import files
from manyheads.data.stream_loader import ENDLESS, StreamBatches, StreamLoader
from manyheads.errors import UserError
from manyheads.testing import byte_tokenizer

END = 256


def make(path: Path, *, joined: bool = False, **settings: Any) -> StreamLoader:
    source = files(format="text", path={s: str(path) for s in ("train", "validation", "test")}, streaming=True,
                   join_rows=joined, shuffle_mb=30e-6)  # fmt: skip
    stream = source.stream()
    assert stream is not None
    workers = settings.pop("num_workers", 0)
    chosen = {"batch_size": 3, "seq_len": 8, "pack": True, "shuffle": True, "seed": 5, **settings}
    return StreamLoader(StreamBatches(stream, byte_tokenizer(), joined=joined, name="x", **chosen), num_workers=workers)


def labels(batches: list[Any]) -> list[int]:
    return [label for batch in batches for label in batch["labels"][batch["labels"] != IGNORE].tolist()]


def same(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists of batches are equal in every tensor."""
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Lines of 1 to 21 bytes: shorter than a row of 8 tokens, and longer."""
    (tmp_path / "t.txt").write_text("".join(f"{i}{'ab' * (i % 10)}\n" for i in range(24)))
    return tmp_path / "t.txt"


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("pack", [False, True])
def test_a_pass_has_every_label_once(path: Path, joined: bool, pack: bool):
    """Guards: tokens lost where a block, a row or a text is cut, and ends of texts where there are none."""
    loader = make(path, joined=joined, pack=pack)
    batches = []
    for batch in loader:
        if loader.state_dict()["passes"]:
            break
        batches.append(batch)
    text = path.read_bytes()
    ends = 1 if joined else 24
    assert sorted(labels(batches)) == sorted([*text, *[END] * ends])
    assert max(batch["labels"].shape[1] for batch in batches) <= 8
    if joined:
        unshuffled = make(path, joined=True, pack=False, shuffle=False, batch_size=1, seq_len=1000)
        whole = list(itertools.islice(unshuffled, 40))
        # the text runs on over blocks: each begins with the token that the one before ended with
        flat = [token for batch in whole for token in batch["labels"][0].tolist()]
        assert flat[: len(text) + 1] == [*text, END]
        inputs = [token for batch in whole for token in batch["input_ids"][0].tolist()]
        assert inputs[: len(text) + 1] == [END, *text]


def test_each_pass_and_each_block_has_another_order(path: Path):
    """Guards: a seed that forgets the pass, and a shuffle that does nothing or loses a row."""
    one, two = [], []
    loader = make(path, batch_size=1)
    for batch in loader:
        if loader.state_dict()["passes"] == 2:
            break
        (one, two)[loader.state_dict()["passes"]].append(batch)
    assert not same(one, two)
    assert sorted(labels(one)) == sorted(labels(two))
    other = make(path, batch_size=1, seed=6)
    assert not same(list(itertools.islice(other, len(one))), one)
    assert same(list(itertools.islice(make(path, batch_size=1), len(one))), one)


@pytest.mark.parametrize("joined", [False, True])
def test_a_resume_at_any_batch_goes_on_exactly(path: Path, joined: bool):
    """Guards: a batch doubled or lost, or the order of a block or of a pass lost, at each batch of two passes and more.

    The state goes through a file as a checkpoint does, read with weights_only=True."""
    loader = make(path, joined=joined)
    whole, states = [], []
    for batch in loader:
        whole.append(batch)
        states.append(loader.state_dict())
        if states[-1]["passes"] == 2 and states[-1]["block"] > 2 * 6:
            break
    assert len(whole) > 25
    for i, state in enumerate(states):
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        resumed = make(path, joined=joined)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        resumed.set_epoch(0)
        assert same(list(itertools.islice(resumed, len(whole) - i - 1)), whole[i + 1 :]), i


def test_a_worker_that_has_fetched_ahead_does_not_count(path: Path):
    """Guards: the place of what a worker has made taken for the place of what was handed out."""
    plain = make(path)
    expected = list(itertools.islice(plain, 12))
    loader = make(path, num_workers=1)
    batches = iter(loader)
    assert same([next(batches) for _ in range(5)], expected[:5])
    resumed = make(path)
    resumed.load_state_dict(loader.state_dict())
    assert same(list(itertools.islice(resumed, 7)), expected[5:])


def test_a_new_epoch_of_lightnings_begins_anew(path: Path):
    """With trainer.limit_train_batches: the stream from its beginning, in another order; unshuffled, the same batches."""
    for shuffle in (True, False):
        loader = make(path, shuffle=shuffle)
        first = list(itertools.islice(loader, 4))
        loader.set_epoch(0)
        assert not same(list(itertools.islice(loader, 4)), first)
        loader.set_epoch(1)
        assert same(list(itertools.islice(loader, 4)), first) is not shuffle
    assert len(loader) == ENDLESS


def test_ranks_share_each_block(path: Path):
    """Guards: two ranks that train on the same rows. Of an odd row at a block's end the other rank has an empty batch."""
    ranks = [make(path, rank=rank, world=2, shuffle=False, batch_size=1) for rank in range(2)]
    whole = make(path, shuffle=False, batch_size=2)
    for first, second, both in itertools.islice(zip(*ranks, whole, strict=True), 60):
        assert sorted(labels([first, second])) == sorted(labels([both]))


def test_a_pass_without_text_is_told_instead_of_looked_through_for_ever(tmp_path: Path):
    (tmp_path / "a.csv").write_text('text\n""\n""\n')
    paths = {split: str(tmp_path / "a.csv") for split in ("train", "validation", "test")}
    stream = files(format="csv", path=paths, streaming=True).stream()
    assert stream is not None
    batches = StreamBatches(stream, byte_tokenizer(), joined=False, name="x", batch_size=1, seq_len=8, pack=True,
                            shuffle=True, seed=1)  # fmt: skip
    with pytest.raises(UserError, match=r"data \(x\): the train split holds no text"):
        next(iter(batches))


def test_one_row_is_gone_through_again_and_again(tmp_path: Path):
    (tmp_path / "a.txt").write_text("abc\n")
    loader = make(tmp_path / "a.txt")
    assert [labels([batch]) for batch in itertools.islice(loader, 3)] == [[97, 98, 99, 10, END]] * 3


def test_a_place_in_another_stream_is_its_beginning(path: Path):
    """Guards: a block that begins where one of another size or of other data did."""
    plain = make(path)
    state = {**next((plain.state_dict(), batch) for batch in itertools.islice(plain, 9, None))[0], "made_of": "a"}
    expected = list(itertools.islice(make(path), 12))
    for made_of, first in (("a", 10), ("b", 0)):
        loader = StreamLoader(make(path).batches, made_of=made_of)
        loader.load_state_dict(state)
        assert same(list(itertools.islice(loader, 2)), expected[first : first + 2])
        assert loader.state_dict()["made_of"] == made_of
