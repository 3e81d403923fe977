"""Guards: an example that is trained on twice or never, an order that depends on ranks or workers, a split without any."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.task.classification import Classification
from manyheads.testing import Rows, byte_tokenizer

ROWS = [{"text": "x" * (1 + i % 5), "label": i % 2} for i in range(23)]


def make(rows: list[dict[str, Any]] = ROWS, **settings: Any) -> Classification:
    source = Rows({"train": rows, "validation": rows[:4], "test": rows[:4]})
    source.ask(Classification.fields)
    return Classification(source=source, tokenizer=byte_tokenizer(), seed=3, kind="causal", reads="classes", **settings)


def order(task: Classification) -> list[list[int]]:
    """The lengths and classes of each training batch of the first epoch, which tell where an order changes."""
    found = []
    for batch in task.training_loader():
        lengths = (
            batch["segments"].sum(-1)
            if "segments" in batch
            else batch["input_ids"].new_full((len(batch["input_ids"]),), batch["input_ids"].shape[1])
        )
        found.append((lengths * 10 + batch["classes"]).tolist())
    return found


def test_an_epoch_has_each_example_once_in_batches_of_like_lengths() -> None:
    batches = order(make(batch_size=4))
    assert sorted(code for batch in batches for code in batch) == sorted(
        (1 + len(r["text"])) * 10 + r["label"] for r in ROWS
    )
    assert [len(batch) for batch in batches].count(4) == 5
    assert all(max(batch) // 10 - min(batch) // 10 <= 1 for batch in batches if len(batch) == 4)


def test_workers_do_not_change_the_order() -> None:
    assert order(make(batch_size=4, num_workers=2)) == order(make(batch_size=4))


def test_an_epoch_resumes_where_it_was_left() -> None:
    whole = order(make(batch_size=4))
    task = make(batch_size=4)
    loader = iter(task.train_dataloader())
    for _ in range(2):
        next(loader)
    later = make(batch_size=4)
    later.load_state_dict(task.state_dict())
    rest = [batch["classes"].tolist() for batch in later.train_dataloader()]
    assert rest == [[code % 10 for code in batch] for batch in whole[2:]]


def test_the_summary_says_how_large_batches_are() -> None:
    assert make(batch_size=4).summary == "4 examples in a batch, of up to 6 tokens"


def test_sizes_count_rows_bytes_and_tokens() -> None:
    sizes = make().describe()
    assert sizes["test"] == {"rows": 4, "bytes": 10, "tokens": 14}
    assert make().tokens_per_epoch == sizes["train"]["tokens"]


def test_what_a_place_is_in_changes_with_rows_and_recipe() -> None:
    same = make().made_of
    assert same == make(batch_size=7).made_of
    assert len({same, make(max_tokens=4).made_of, make(shuffle=False).made_of, make(ROWS[:20]).made_of}) == 4


@pytest.mark.parametrize(
    ("key", "value"), [("batch_size", 0), ("eval_batch_size", 0), ("num_workers", -1), ("max_tokens", 1)]
)
def test_numbers_out_of_range_name_their_key(key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"task\.{key}={value}"):
        make(**{key: value})
