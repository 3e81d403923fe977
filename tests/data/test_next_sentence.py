"""Guards: pairs whose second text does not follow where it is said to, or that chance makes otherwise than it should."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from manyheads.batch import IGNORE
from manyheads.data.next_sentence import ELSEWHERE, FOLLOWS, sentence_ends
from manyheads.task.masked import Masked
from manyheads.testing import Rows, byte_tokenizer

END = byte_tokenizer().end_id
TEXTS = ["ab. cd. ef.", "gh! ij", "klmno", "p\nq? r"]
STARTS = {"ab. cd. ef.", " cd. ef.", " ef.", "gh! ij", " ij", "klmno", "p\nq? r", "q? r", " r"}
BEGINNINGS = {("ab.", 0), ("ab. cd.", 0), ("gh!", 1), ("p\n", 3), ("p\nq?", 3)}


def make(texts: Any = TEXTS, **settings: Any) -> Masked:
    source = Rows({split: list(texts) for split in ("train", "validation", "test")})
    chosen = {"seq_len": 32, "batch_size": 3, "mask_rate": 0, "next_sentence": True} | settings
    return Masked(source=source, tokenizer=byte_tokenizer(), seed=1, **chosen)


def rows(batches: Any) -> list[tuple[list[str], list[int], int]]:
    """The texts of each row, the kinds of its tokens and its class."""
    found = []
    for batch in batches:
        segments = batch.get("segments")
        for row, (ids, types) in enumerate(zip(batch["input_ids"], batch["token_types"], strict=True)):
            length = len(ids) if segments is None else int(segments[row].sum())
            assert ids[0] == END
            parts = bytes(0 if token == END else token for token in ids[1:length].tolist()).decode().split("\0")
            found.append((parts, types[:length].tolist(), int(batch["classes"][row])))
    return found


def epochs(task: Masked, count: int) -> list[list[tuple[list[str], list[int], int]]]:
    loader: Any = task.train_dataloader()
    made = []
    for epoch in range(count):
        loader.order.set_epoch(epoch)
        made.append(rows(loader))
    return made


def in_order(task: Masked) -> list[list[str]]:
    """The rows of four epochs, however they were shuffled."""
    return [sorted(map(str, epoch)) for epoch in epochs(task, 4)]


def test_pairs_by_hand() -> None:
    """Each is the beginning of a text up to the end of a sentence, and the rest of that text or of another one."""
    for parts, types, found in [row for epoch in epochs(make(), 60) for row in epoch]:
        if found == IGNORE:
            assert (parts, types) == (["klmno"], [0] * 6)
            continue
        first, second = parts
        assert types == [0] * (2 + len(first)) + [1] * len(second)
        (text,) = [text for start, text in BEGINNINGS if start == first]
        if found == FOLLOWS:
            assert first + second == TEXTS[text]
        else:
            assert found == ELSEWHERE
            assert second in STARTS
            assert not TEXTS[text].endswith(second)


def test_half_of_them_follow_and_each_border_and_text_is_as_likely() -> None:
    """600 epochs: of 1,800 pairs the share is within 4 standard deviations of a half, of 600 borders too."""
    pairs = [row for epoch in epochs(make(), 600) for row in epoch if row[2] != IGNORE]
    assert len(pairs) == 1800
    assert np.mean([found == FOLLOWS for *_, found in pairs]) == pytest.approx(0.5, abs=4 * 0.5 / 1800**0.5)
    borders = Counter(parts[0] for parts, *_ in pairs)
    assert set(borders) == {start for start, _ in BEGINNINGS}
    for one, other in (("ab.", "ab. cd."), ("p\n", "p\nq?")):
        assert borders[one] + borders[other] == 600
        assert borders[one] == pytest.approx(300, abs=4 * 150**0.5)
    second = Counter(parts[1] for parts, _, found in pairs if found == ELSEWHERE and parts[0] == "gh!")
    assert set(second) == {"ab. cd. ef.", " cd. ef.", " ef.", "klmno", "p\nq? r", "q? r", " r"}
    assert second["klmno"] == pytest.approx(sum(second.values()) / 3, abs=4 * (300 * 2 / 9) ** 0.5)


def test_pairs_go_by_seed_epoch_and_row_alone() -> None:
    one, other = epochs(make(), 3), epochs(make(batch_size=1), 3)
    assert [sorted(map(str, epoch)) for epoch in one] == [sorted(map(str, epoch)) for epoch in other]
    assert len({str(sorted(map(str, epoch))) for epoch in one}) == 3
    static = epochs(make(masking="static", static_masks=2), 4)
    assert static[0] == static[2] != static[1] == static[3] or sorted(map(str, static[0])) == sorted(
        map(str, static[2])
    )
    scored = rows(make(eval_batch_size=4).val_dataloader())
    assert scored == rows(make(eval_batch_size=1).val_dataloader())
    assert sorted(map(str, scored)) != one[0]


def test_a_pair_is_no_longer_than_a_row() -> None:
    """A long text is parted in pieces, each with its own pairs; the second text is cut where there is no room for more."""
    task = make(["ab. cd. " * 9, "x" * 50 + ". y"], seq_len=16)
    widths = [batch["input_ids"].shape[1] for batch in task.train_dataloader()]
    assert max(widths) == 16
    found = [row for epoch in epochs(task, 20) for row in epoch]
    assert {kind for *_, kind in found} == {FOLLOWS, ELSEWHERE, IGNORE}
    assert any(len(parts[1]) == 14 - len(parts[0]) for parts, _, kind in found if kind == ELSEWHERE)


def test_the_only_text_of_a_split_stays_alone() -> None:
    source = Rows({"train": TEXTS, "validation": TEXTS[:1], "test": TEXTS})
    task = Masked(source=source, tokenizer=byte_tokenizer(), seed=1, seq_len=32, mask_rate=0, next_sentence=True)
    assert rows(task.val_dataloader()) == [([TEXTS[0]], [0] * 12, IGNORE)]


def test_the_end_of_a_sentence_is_what_a_token_writes() -> None:
    ends = sentence_ends(byte_tokenizer())
    assert {chr(token) for token in np.flatnonzero(ends)} == {".", "!", "?", "\n"}
