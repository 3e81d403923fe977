"""Guards what tasks over plain texts share: a row that was altered is the same however it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.batch import IGNORE, NO_EXAMPLE
from manyheads.data.files import files
from manyheads.task.denoising import Denoising
from manyheads.task.masked import Masked
from manyheads.task.text_rows import TextRows
from manyheads.testing import Rows, byte_tokenizer

TEXTS = [f"{'the quick brown fox jumps over the lazy dog. '[: 3 + 7 * (i % 9)]}{i}" for i in range(23)]
Make = Callable[..., TextRows]


def masked(**settings: Any) -> TextRows:
    return Masked(source=Rows({"train": TEXTS, "validation": TEXTS[:7], "test": TEXTS[7:9]}), tokenizer=byte_tokenizer(),
                  seed=3, **{"seq_len": 24, "batch_size": 4, "mask_rate": 0.4} | settings)  # fmt: skip


def spans(**settings: Any) -> TextRows:
    return Denoising(source=Rows({"train": TEXTS, "validation": TEXTS[:7], "test": TEXTS[7:9]}),
                     tokenizer=byte_tokenizer(), seed=3, kind="encoder-decoder",
                     **{"seq_len": 24, "batch_size": 4} | settings)  # fmt: skip


def infilling(**settings: Any) -> TextRows:
    return spans(objective="bart", **settings)


def words(**settings: Any) -> TextRows:
    return masked(masking="whole_word", pack=False, **settings)


TASKS = [masked, words, spans, infilling]


def rows_of(batches: list[Any], end_id: int = 256) -> list[tuple[Any, ...]]:
    """What is read and learned in each row, without padding."""
    found = []
    for batch in batches:
        for row in range(len(batch["input_ids"])):
            labels = batch["labels"][row]
            inside = batch["segments"][row] > 0 if "segments" in batch else torch.ones_like(labels, dtype=torch.bool)
            source = ()
            if "source_ids" in batch:
                seen = batch.get("source_segments", torch.ones_like(batch["source_ids"]))[row] > 0
                source = tuple(batch["source_ids"][row][seen].tolist())
            if (labels != IGNORE).any() or "source_ids" not in batch:
                found.append((tuple(batch["input_ids"][row][inside].tolist()), tuple(labels[inside].tolist()), source))
    return found


def epochs(task: TextRows, count: int = 2) -> list[list[tuple[Any, ...]]]:
    loader = task.train_dataloader()
    found = []
    for epoch in range(count):
        loader.order.set_epoch(epoch)  # type: ignore[union-attr]
        found.append(sorted(rows_of(list(loader))))
    return found


@pytest.mark.parametrize("make", TASKS)
def test_rows_of_an_epoch_go_by_seed_epoch_and_row_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any batch size, in a worker, and on three ranks together; other ones in the next epoch, and of another seed."""
    whole = epochs(make())
    assert whole[0] != whole[1]
    for settings in ({"batch_size": 1}, {"batch_size": 50}, {"num_workers": 1}):
        assert epochs(make(**settings)) == whole
    parts = []
    for rank in range(3):
        monkeypatch.setattr(TextRows, "_rank", lambda self, rank=rank: (rank, 3))
        parts.append(epochs(make(batch_size=1)))
    # a rank that has no row gets one without a label, which is no row of the epoch
    together = [[row for part in parts for row in part[epoch]] for epoch in range(2)]
    for epoch in range(2):
        missing = [row for row in whole[epoch] if row not in together[epoch]]
        assert missing == []


@pytest.mark.parametrize("make", TASKS)
def test_a_resume_goes_on_with_the_very_rows(make: Make) -> None:
    """In the middle of the second epoch."""
    task = make()
    loader = task.train_dataloader()
    loader.order.set_epoch(1)  # type: ignore[union-attr]
    batches = iter(loader)
    next(batches)
    next(batches)
    place = task.state_dict()
    rest = list(batches)
    again = make()
    again.load_state_dict(place)
    resumed = list(again.train_dataloader())
    assert len(rest) == len(resumed) >= 2
    for one, other in zip(rest, resumed, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", TASKS)
def test_what_is_scored_is_always_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row once under its own number, whatever the batch size and the number of ranks, and after training."""

    def scored(task: TextRows) -> dict[int, Any]:
        batches = list(task.val_dataloader())
        found = {}
        for batch in batches:
            assert batch["examples"].shape == (len(batch["input_ids"]),)
            kept = [row for row, example in enumerate(batch["examples"].tolist()) if example != NO_EXAMPLE]
            rows = rows_of([{name: value[kept] if value.ndim else value for name, value in batch.items()}])
            found |= dict(zip(batch["examples"][kept].tolist(), rows, strict=True))
        return found

    whole = scored(make())
    assert sorted(whole) == list(range(len(make().scored_segments("validation").length)))
    assert scored(make(eval_batch_size=1)) == scored(make(eval_batch_size=50)) == whole
    trained = make()
    epochs(trained)
    assert scored(trained) == whole
    together = {}
    for rank in range(2):
        monkeypatch.setattr(TextRows, "_rank", lambda self, rank=rank: (rank, 2))
        together |= scored(make(eval_batch_size=3))
    assert together == whole


@pytest.mark.parametrize("make", [Masked, Denoising])
def test_a_stream_is_altered_the_same_on_any_ranks_and_after_a_resume(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))

    def loader(**settings: Any) -> Any:
        source = files(format="text", path={s: str(path) for s in ("train", "validation", "test")}, streaming=True,
                       join_rows=False, shuffle_mb=300e-6)  # fmt: skip
        more = {"kind": "encoder-decoder"} if make is Denoising else {}
        return make(source=source, tokenizer=byte_tokenizer(), seed=3, seq_len=24, **more, **settings)

    def taken(task: Any, count: int) -> list[Any]:
        batches = iter(task.train_dataloader())
        return [next(batches) for _ in range(count)]

    whole = taken(loader(batch_size=2), 40)
    rows = rows_of(whole)
    assert len({*rows}) > 0.6 * len(rows)  # the second pass is corrupted in other ways
    parts = []
    for rank in range(2):
        monkeypatch.setattr(TextRows, "_rank", lambda self, rank=rank: (rank, 2))
        parts.append(rows_of(taken(loader(batch_size=1), 40)))
    assert {*parts[0], *parts[1]} >= {*rows}
    monkeypatch.undo()
    task = loader(batch_size=2)
    batches = iter(task.train_dataloader())
    for _ in range(7):
        next(batches)
    again = loader(batch_size=2)
    again.load_state_dict(task.state_dict())
    assert rows_of(taken(again, 5)) == rows_of(whole[7:12])
